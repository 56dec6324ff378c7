// Serves EngineApi to local processes over a unix socket: HTTP because every language and curl
// speak it.
//
// Who may call: the socket's mode lets in root and the engine's own user, nobody else. Bounds:
// the size of a request, the time a client takes to send one; a client that does not read loses
// progress lines, no more. A call whose client goes away is aborted.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { z } from "zod";

import { WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Random } from "../../core/runtime/ports.ts";
import { parseConfig } from "../engine/config.ts";
import { bindControlSocket } from "./control-socket.ts";
import type { CallContext, EngineApi } from "./engine-api.ts";
import {
  CALL_PATH,
  faultLine,
  isMethod,
  REQUEST_BYTES_MAX,
  requestSchemas,
  type AnswerLine,
  type Method,
} from "./messages.ts";

const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 64;

type Handlers = Readonly<Record<Method, (body: unknown, context: CallContext) => Promise<unknown>>>;

export interface ControlServerOptions {
  readonly engine: EngineApi;
  readonly socketPath: string;
  readonly random: Random;
  readonly log: Logger;
  /** See bindControlSocket. */
  readonly replace?: boolean;
}

export class ControlServer {
  readonly #handlers: Handlers;
  readonly #log: Logger;
  readonly #server: Server;
  readonly #calls = new Map<Promise<void>, AbortController>();
  #unbind: () => Promise<void> = () => Promise.resolve();

  private constructor(options: ControlServerOptions) {
    this.#log = options.log;
    this.#handlers = handlersOf(options.engine);
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      this.#serve(request, response);
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Resolves when clients can connect. */
  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    server.#unbind = await bindControlSocket({ ...options, server: server.#server });
    return server;
  }

  /** Takes no more calls, aborts those that run, and resolves when they have ended. */
  async close(): Promise<void> {
    await this.#unbind();
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const controller of this.#calls.values()) {
      controller.abort(new WeirError("aborted", "the engine is ending: try again when it is back"));
    }
    await Promise.all(this.#calls.keys());
    this.#server.closeAllConnections();
    await closed;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const controller = new AbortController();
    response.once("close", () => {
      if (response.writableFinished) return;
      controller.abort(new WeirError("aborted", "the caller went away"));
    });
    const call = this.#answer(request, response, controller.signal);
    this.#calls.set(call, controller);
    void call.finally(() => this.#calls.delete(call));
  }

  /** Never rejects. */
  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    // A client that vanishes in the middle of an answer is seen by `close`, not by an error here.
    response.on("error", () => undefined);
    const send = (line: AnswerLine): void => void response.write(`${JSON.stringify(line)}\n`);
    try {
      const method = methodOf(request);
      const body = await readBody(request);
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      const onProgress = (dirtyBytes: number): void => {
        if (!response.writableNeedDrain) send({ progress: { dirtyBytes } });
      };
      const result = await this.#handlers[method](body, { signal, onProgress });
      send({ result: result ?? null });
    } catch (cause) {
      if (!(cause instanceof WeirError)) {
        this.#log.error({ err: cause, call: request.url }, "a control call failed unexpectedly");
      }
      if (!response.headersSent) {
        response.writeHead(cause instanceof Refusal ? cause.status : 200, {
          "content-type": "application/x-ndjson",
          // What is left of a refused request is not read.
          connection: "close",
        });
      }
      send(faultLine(cause));
    }
    response.end();
  }
}

/** A request that no handler saw. */
class Refusal extends WeirError {
  readonly status: number;

  constructor(status: number, message: string) {
    super("invalid-argument", message);
    this.status = status;
  }
}

function handlersOf(engine: EngineApi): Handlers {
  const { attach, detach, snapshot, grow } = requestSchemas;
  return {
    status: (_body, context) => engine.status(context),
    attach: (body, context) => engine.attach(check(attach, body), context),
    detach: (body, context) => engine.detach(check(detach, body), context),
    snapshot: (body, context) => engine.snapshot(check(snapshot, body), context),
    grow: (body, context) => engine.grow(check(grow, body), context),
  };
}

function check<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  return parseConfig(schema, body, "the request");
}

function methodOf(request: IncomingMessage): Method {
  const { url = "" } = request;
  const method = url.startsWith(CALL_PATH) ? url.slice(CALL_PATH.length) : "";
  if (!isMethod(method)) {
    throw new Refusal(404, "the engine has no such call: use a weir command of the same release");
  }
  if (request.method !== "POST") throw new Refusal(405, "a control call must be a POST");
  return method;
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request) {
    if (!Buffer.isBuffer(part)) continue;
    bytes += part.length;
    if (bytes > REQUEST_BYTES_MAX) {
      throw new Refusal(413, `a control request can have ${REQUEST_BYTES_MAX} bytes at most`);
    }
    parts.push(part);
  }
  return parseJson(Buffer.concat(parts).toString("utf8"));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, "the control request is not valid JSON");
  }
}
