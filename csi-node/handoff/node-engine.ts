// The engine of a node from start to end: comes up cold or takes over from the one that serves,
// serves, and is taken over in its turn.
//
// Owns: the state directory's lock, its generation, the control and handoff sockets, in this order
// of beginning. Crash: owner files and sockets of a dead process; the next start goes on from them.
import { join } from "node:path";

import { WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import { whenAborted } from "../../core/runtime/timer-signals.ts";
import type { BlockEngine } from "../engine/block-engine.ts";
import type { EngineHost } from "../engine/engine-host.ts";
import type { HandoffEngine, HandoffListener, HandoffSocket } from "../engine/handoff-port.ts";
import { EngineHandover } from "./engine-handover.ts";
import type { Owners } from "./owners.ts";
import { HandoffPredecessor } from "./predecessor.ts";
import type { HandoffReport } from "./report.ts";
import { takeOver, type SuccessorResult } from "./successor.ts";

/** Something that is open until it is closed. */
export interface Closable {
  close(): Promise<void>;
}

export interface NodeEngineOptions {
  readonly engine: BlockEngine & HandoffEngine;
  readonly host: EngineHost;
  readonly owners: Owners;
  readonly runDirectory: string;
  /** Takes the state directory for this process alone; rejects with `journal-busy`. */
  readonly lock: () => Promise<Closable>;
  /** `replace`: another engine still has the name, and gives it up. */
  readonly listenControl: (options: { readonly replace: boolean }) => Promise<Closable>;
  /** The file tier of the clean cache, which one process at a time can have. */
  readonly openCache: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onDie: (fault: WeirError) => void;
  readonly onState?: (role: "predecessor" | "successor", name: string) => void;
  readonly onProgress?: (progress: { readonly loaded: number; readonly of: number }) => void;
}

function handoffSocketPath(runDirectory: string): string {
  return join(runDirectory, "handoff.sock");
}

/** A former owner may need a moment to end; one that does not is seen by its journals' locks. */
const LOCK_RETRY_MS = 1_000;
/** How long an owner that lives may be without its socket. */
const CONNECT_MS = 20_000;
const CONNECT_RETRY_MS = 200;

export class NodeEngine {
  readonly #options: NodeEngineOptions;
  readonly #handover: EngineHandover;
  readonly #handedOver = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  #lock: Closable | undefined;
  #control: Closable | undefined;
  #listener: HandoffListener | undefined;
  #predecessor: HandoffPredecessor | undefined;
  #generation = 0;
  #released = false;
  /** Its sockets are being put back in place: whoever closes them waits for that first. */
  #socketsBack: Promise<void> = Promise.resolve();

  constructor(options: NodeEngineOptions) {
    this.#options = options;
    this.#handover = new EngineHandover({
      ...options,
      onAdopted: async () => {
        this.#control = await options.listenControl({ replace: true });
      },
      onRelease: () => this.#release(),
    });
  }

  /** Of this engine; another number after it had to take its volumes back. */
  get generation(): number {
    return this.#generation;
  }

  /** `idle`: another engine serves, this process only waits for its end. */
  get state(): string {
    return this.#predecessor?.state ?? "starting";
  }

  /** Loads everything beside the engine that serves, and lets go of it again. */
  async tryWarm(signal: AbortSignal): Promise<SuccessorResult> {
    const result = await this.#takeOver({ dryRun: true, signal });
    if (result !== null) return result;
    throw new WeirError(
      "engine-unavailable",
      "no engine that can hand over is running on this node: nothing to try",
    );
  }

  /** Resolves when this process serves the node. */
  async start(options: {
    readonly takeOver: boolean;
    readonly signal: AbortSignal;
  }): Promise<"cold" | "taken-over"> {
    const { signal } = options;
    const result = options.takeOver ? await this.#takeOver({ dryRun: false, signal }) : null;
    if (result === null || result.kind === "predecessor-died") {
      await this.#startCold(signal);
    } else if (result.kind === "taken") {
      this.#generation = result.report.generation;
      this.#options.host.noteHandoff(result.report);
      void this.#track(this.#settleIn(result.settled, signal));
    } else {
      throw notTaken(result);
    }
    await this.#listen();
    return result?.kind === "taken" ? "taken-over" : "cold";
  }

  /** Resolves when this engine has to end: the signal, or an engine that has taken over. */
  async serve(signal: AbortSignal): Promise<"ended" | "handed-over"> {
    const until = AbortSignal.any([signal, this.#handedOver.signal]);
    await this.#options.host.keepRecovering({ signal: until });
    return this.#handedOver.signal.aborted ? "handed-over" : "ended";
  }

  /** Nobody may take over any more, and no call comes in; volumes go on. */
  async closeSockets(): Promise<void> {
    await this.#predecessor?.stop();
    await this.#socketsBack;
    await this.#listener?.close();
    this.#listener = undefined;
    await this.#control?.close();
    this.#control = undefined;
  }

  /** Lets go of everything. */
  async close(): Promise<void> {
    await this.closeSockets();
    await this.#release();
    await Promise.allSettled(this.#tasks);
  }

  async #takeOver(options: {
    readonly dryRun: boolean;
    readonly signal: AbortSignal;
  }): Promise<SuccessorResult | null> {
    const { onState, ...rest } = this.#options;
    const socket = await this.#connect(options.signal);
    if (socket === null) return null;
    const seen = onState === undefined ? {} : { onState: (at: string) => onState("successor", at) };
    return takeOver({ ...rest, ...options, ...seen, host: this.#handover, socket });
  }

  /** null: nobody serves. An owner that has just taken over listens a moment later. */
  async #connect(signal: AbortSignal): Promise<HandoffSocket | null> {
    const { engine, runDirectory, owners, clock } = this.#options;
    const endMs = clock.monotonicMs() + CONNECT_MS;
    for (;;) {
      const socket = await engine.connectHandoff(handoffSocketPath(runDirectory));
      if (socket !== null || clock.monotonicMs() >= endMs) return socket;
      if ((await owners.living()) === undefined) return null;
      await clock.sleep(CONNECT_RETRY_MS, signal);
    }
  }

  async #startCold(signal: AbortSignal): Promise<void> {
    const { engine, owners, host, lock, listenControl, openCache } = this.#options;
    this.#lock = await lock();
    const owner = await owners.living();
    if (owner !== undefined) throw alreadyServed(owner.pid);
    this.#generation = await owners.claimCold();
    engine.restoreKernel(owners.directory);
    await openCache();
    await host.recover({ signal });
    this.#control = await listenControl({ replace: false });
  }

  /** What has to wait until the predecessor has closed its own; nobody waits for it. */
  async #settleIn(settled: Promise<void>, signal: AbortSignal): Promise<void> {
    const { host, log, openCache } = this.#options;
    const until = AbortSignal.any([signal, this.#handedOver.signal]);
    await Promise.race([settled, whenAborted(until)]);
    const lock = await this.#lockInTime(until);
    if (lock === undefined) return;
    if (this.#released) return lock.close();
    this.#lock = lock;
    try {
      await openCache();
    } catch (cause) {
      log.warn({ err: cause }, "the clean cache's file was not taken over: reads cost more");
    }
    // What the predecessor could not hand over: it failed there, or waited.
    await host.recover({ signal: until });
  }

  async #lockInTime(signal: AbortSignal): Promise<Closable | undefined> {
    const { lock, clock, log } = this.#options;
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      try {
        return await lock();
      } catch (cause) {
        const text = "the former engine still has the state directory's lock";
        if (isFirst) log.info({ err: cause }, text);
        await clock.sleep(LOCK_RETRY_MS, signal).catch(() => undefined);
      }
    }
    return undefined;
  }

  async #listen(): Promise<void> {
    const { onState, owners, clock, log, onDie } = this.#options;
    const predecessor = new HandoffPredecessor({
      ...{ owners, clock, log, onDie, host: this.#handover, generation: this.#generation },
      onReport: (report) => this.#noteEnd(report),
      onState: (name) => {
        onState?.("predecessor", name);
        if (name === "idle") this.#handedOver.abort();
      },
    });
    this.#predecessor = predecessor;
    this.#listener = await this.#listenForSuccessor(predecessor);
  }

  #listenForSuccessor(predecessor: HandoffPredecessor): Promise<HandoffListener> {
    const { engine, runDirectory } = this.#options;
    return engine.listenHandoff({
      path: handoffSocketPath(runDirectory),
      onConnection: (socket) => predecessor.connect(socket),
    });
  }

  #noteEnd(report: HandoffReport): void {
    if (report.outcome === "given" || report.outcome === "lost") return;
    this.#generation = report.generation;
    this.#options.host.noteHandoff(report);
    if (report.outcome === "recovered") this.#socketsBack = this.#track(this.#takeSocketsBack());
  }

  /** The successor that died may have put its own sockets in their place. */
  async #takeSocketsBack(): Promise<void> {
    const predecessor = this.#predecessor;
    if (predecessor === undefined || this.#released) return;
    const former = { control: this.#control, listener: this.#listener };
    this.#listener = await this.#listenForSuccessor(predecessor);
    this.#control = await this.#options.listenControl({ replace: true });
    await former.listener?.close();
    await former.control?.close();
  }

  /** Once: at the end, or when another engine has everything. */
  async #release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    const { host } = this.#options;
    await this.#socketsBack;
    await this.#listener?.close();
    await this.#control?.close();
    await host.close();
    await this.#lock?.close();
    this.#listener = undefined;
    this.#control = undefined;
    this.#lock = undefined;
  }

  /** Never rejects. */
  #track(task: Promise<void>): Promise<void> {
    const settled = task.catch((cause: unknown) => {
      this.#options.log.error({ err: cause }, "what follows a handoff could not be done");
    });
    this.#tasks.add(settled);
    void settled.finally(() => this.#tasks.delete(settled));
    return settled;
  }
}

function notTaken(result: Exclude<SuccessorResult, { kind: "taken" }>): WeirError {
  const code = result.kind === "refused" ? "in-use" : "aborted";
  return new WeirError(code, `the engine that serves here was not taken over: ${result.reason}`);
}

function alreadyServed(pid: number): WeirError {
  return new WeirError(
    "in-use",
    "another engine serves this node: take over from it with --take-over, or stop it first",
    { details: { pid } },
  );
}
