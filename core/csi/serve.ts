// Serves gRPC services at a unix socket: the CSI services for kubelet and the sidecars, and the
// registration service for kubelet. grpc-js never sees the socket's path (it would unlink it at
// its end, whoever holds it then): connections are accepted here and handed to it.
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { createServer, type Server, type Socket } from "node:net";

import { WeirError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { whenAborted } from "../runtime/timer-signals.ts";
import { bindHidden, holderOf } from "./hidden-socket.ts";
import { implement, type EndedCall, type RpcService } from "./rpc-service.ts";

/** Requests are small; a volume context is 4 KiB at most. */
const MESSAGE_BYTES_MAX = 4 * 1024 * 1024;
/** How often the public name is looked at. */
const WATCH_INTERVAL_MS = 5_000;
/** What calls that were told to end may take to answer. */
const LAST_WORDS_MS = 2_000;

export interface ServeOptions {
  readonly socketPath: string;
  readonly services: readonly RpcService[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** For metrics; called once for each call that ended. */
  readonly onCall?: (call: EndedCall) => void;
}

/** Resolves when the first client can connect. Throws WeirError when the socket cannot be made. */
export async function serveCsi(options: ServeOptions): Promise<CsiServer> {
  const server = new CsiServer(options);
  await server.bind();
  return server;
}

export class CsiServer {
  readonly #options: ServeOptions;
  readonly #grpc = new GrpcServer({ "grpc.max_receive_message_length": MESSAGE_BYTES_MAX });
  readonly #injector: ReturnType<GrpcServer["createConnectionInjector"]>;
  readonly #listeners: Server[] = [];
  readonly #sockets = new Set<Socket>();
  /** Told to calls that still run at the end of the drain. */
  readonly #ending = new AbortController();
  /** Ends the watch of the public name. */
  readonly #closing = new AbortController();
  #watch: Promise<void> = Promise.resolve();
  #drained: (() => void) | undefined;

  constructor(options: ServeOptions) {
    this.#options = options;
    const { clock, log, services, onCall = () => undefined } = options;
    const context = { clock, log, onCall, ending: this.#ending.signal };
    for (const service of services) {
      this.#grpc.addService(service.definition, implement(service, context));
    }
    this.#injector = this.#grpc.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Takes the public name, and takes it again whenever its holder ended without a successor. */
  async bind(): Promise<void> {
    const ino = await this.#listen();
    this.#watch = this.#keepName(ino);
  }

  /**
   * Takes no new calls, waits `drainMs` for those that run, then tells them to end. The socket's
   * file stays: a successor renames its own over it.
   */
  async close(options: { readonly drainMs: number }): Promise<void> {
    const { clock } = this.#options;
    this.#closing.abort(new WeirError("aborted", "the server is closing"));
    await this.#watch;
    // Connections that wait in the accept queue still come in before the listener closes.
    await clock.sleep(0);
    for (const listener of this.#listeners) listener.close();
    this.#injector.drain(options.drainMs + LAST_WORDS_MS);
    await this.#waitUntilIdle(options.drainMs);
    this.#ending.abort(new WeirError("aborted", "this process is ending: try again"));
    await this.#waitUntilIdle(LAST_WORDS_MS);
    this.#grpc.forceShutdown();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #listen(): Promise<bigint> {
    const { socketPath, random } = this.#options;
    const listener = createServer((socket) => this.#accept(socket));
    const ino = await bindHidden({ server: listener, socketPath, random });
    this.#listeners.push(listener);
    return ino;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#drained?.();
    });
    this.#injector.injectConnection(socket);
  }

  /**
   * A predecessor that crashed and came back in the middle of a rolling update takes the name once
   * more, and ends with it: then nobody would answer there.
   */
  async #keepName(first: bigint): Promise<void> {
    const { clock, log, socketPath } = this.#options;
    const { signal } = this.#closing;
    let ino = first;
    while (!signal.aborted) {
      await clock.sleep(WATCH_INTERVAL_MS, signal).catch(() => undefined);
      if (signal.aborted || (await holderOf(socketPath, ino)) !== "dead") continue;
      try {
        ino = await this.#listen();
        log.info({ socketPath }, "took over a socket that nobody answered at");
      } catch (cause) {
        log.warn({ err: cause, socketPath }, "a socket that nobody answers at cannot be replaced");
      }
    }
  }

  async #waitUntilIdle(timeoutMs: number): Promise<void> {
    if (this.#sockets.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    using deadline = this.#options.clock.deadline(timeoutMs);
    await Promise.race([promise, whenAborted(deadline)]);
  }
}
