// An engine that takes over from the one that serves: runs successor-machine.ts over the socket and
// its own host. `taken` settles the question of ownership, `settled` that the predecessor has
// closed what it had.
import { messageOf, WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import type { DeviceStall, HandoffSocket, TakeOutcome } from "../engine/handoff-port.ts";
import { MachineRunner } from "./machine-runner.ts";
import type { WarmOrder } from "./messages.ts";
import { logReport, worstStallUs, type HandoffReport } from "./report.ts";
import {
  stepSuccessor,
  type SuccessorAction,
  type SuccessorEnd,
  type SuccessorEvent,
  type SuccessorState,
} from "./successor-machine.ts";
import { Talk } from "./talk.ts";

/** What a handoff needs of the engine that takes over. */
export interface SuccessorHost {
  /** Loads all of them, or none: then it rejects. */
  load(
    orders: readonly WarmOrder[],
    context: {
      readonly signal: AbortSignal;
      readonly onProgress: (progress: { readonly loaded: number; readonly of: number }) => void;
    },
  ): Promise<void>;
  /** Lets go of what is loaded; harmless when nothing is. */
  discard(): Promise<void>;
  take(options: {
    readonly socket: HandoffSocket;
    readonly generation: number;
    readonly deadlineMs: number;
  }): Promise<TakeOutcome>;
  /** The volumes serve already; this makes them this engine's own. */
  adopt(outcome: Extract<TakeOutcome, { kind: "taken" }>): Promise<void>;
}

export interface SuccessorOptions {
  readonly host: SuccessorHost;
  readonly socket: HandoffSocket;
  /** Stops when everything is warm, and changes nothing. */
  readonly dryRun: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends it before the window; afterwards it has no effect. */
  readonly signal: AbortSignal;
  readonly onDie: (fault: WeirError) => void;
  readonly onState?: (name: string) => void;
  readonly onProgress?: (progress: { readonly loaded: number; readonly of: number }) => void;
}

export type SuccessorResult =
  /** `settled`: the predecessor has closed what it had, or is not waited for any more. */
  | { readonly kind: "taken"; readonly report: HandoffReport; readonly settled: Promise<void> }
  /** Nothing is ours. */
  | {
      readonly kind: SuccessorEnd["kind"];
      readonly reason: string;
      readonly phasesMs: Readonly<Record<string, number>>;
    };

/** Resolves when it is settled who serves. */
export function takeOver(options: SuccessorOptions): Promise<SuccessorResult> {
  return new HandoffSuccessor(options).run();
}

class HandoffSuccessor {
  readonly #options: SuccessorOptions;
  readonly #machine: MachineRunner<SuccessorState, SuccessorEvent, SuccessorAction>;
  readonly #talk: Talk;
  readonly #loading = new AbortController();
  readonly #orders: WarmOrder[] = [];
  readonly #decided = Promise.withResolvers<SuccessorResult>();
  readonly #settled = Promise.withResolvers<void>();
  #devices: readonly DeviceStall[] = [];
  #told = false;
  #loaded: Promise<void> = Promise.resolve();
  #discarded: Promise<void> = Promise.resolve();

  constructor(options: SuccessorOptions) {
    this.#options = options;
    const { clock, dryRun, socket } = options;
    this.#machine = new MachineRunner<SuccessorState, SuccessorEvent, SuccessorAction>({
      initial: { name: "connected", dryRun },
      step: stepSuccessor,
      perform: (action) => this.#perform(action),
      onDeadline: { kind: "deadline" },
      onState: (name) => this.#entered(name),
      clock,
    });
    this.#talk = new Talk({
      socket,
      clock,
      post: (event) => this.#machine.post(event),
    });
  }

  async run(): Promise<SuccessorResult> {
    const { signal } = this.#options;
    const onAbort = (): void => this.#machine.post({ kind: "stop" });
    this.#machine.post({ kind: "start" });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await this.#decided.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #entered(name: string): void {
    const { state } = this.#machine;
    this.#options.onState?.(name);
    if (state.name === "gone") void this.#leave(state.end);
    if (state.name === "serving") this.#settled.resolve();
    if (state.name === "farewell" || state.name === "serving") this.#tell(state.generation);
  }

  /** Whoever goes on from here finds nothing loaded. */
  async #leave(end: SuccessorEnd): Promise<void> {
    const phasesMs = this.#machine.takePhases();
    await this.#loaded;
    await this.#discarded;
    this.#decided.resolve({ ...end, phasesMs });
  }

  /** Once: the predecessor may be gone before it was told. */
  #tell(generation: number): void {
    const { clock, log } = this.#options;
    if (this.#told) return;
    this.#told = true;
    const report: HandoffReport = {
      outcome: "taken",
      generation,
      reason: undefined,
      peerBuild: this.#talk.peerBuild,
      phasesMs: this.#machine.takePhases(),
      devices: this.#devices,
      worstStallUs: worstStallUs(this.#devices),
      endedAtMs: clock.wallMs(),
    };
    logReport(log, report);
    this.#decided.resolve({ kind: "taken", report, settled: this.#settled.promise });
  }

  #perform(action: SuccessorAction): void {
    switch (action.do) {
      case "arm":
        return this.#machine.arm(action.ms);
      case "disarm":
        return this.#machine.disarm();
      case "send":
        return this.#talk.send(action.message);
      case "note":
        this.#orders.push(...action.page.volumes);
        return;
      case "load":
        this.#loaded = this.#load();
        return;
      case "take":
        return void this.#take(action);
      case "adopt":
        return void this.#adopt(action.outcome);
      case "discard":
        this.#loading.abort();
        this.#discarded = this.#discard();
        return;
      case "close":
        return this.#talk.close();
      case "die":
        return this.#options.onDie(new WeirError("internal", action.reason));
    }
  }

  async #load(): Promise<void> {
    const { host, onProgress } = this.#options;
    const { signal } = this.#loading;
    try {
      await host.load(this.#orders, {
        signal,
        onProgress: (progress) => {
          onProgress?.(progress);
          this.#machine.post({ kind: "progress", ...progress });
        },
      });
    } catch (cause) {
      this.#machine.post({ kind: "unloaded", reason: messageOf(cause) });
      return;
    }
    // What was called off meanwhile must not stay loaded.
    if (signal.aborted) await this.#discard();
    else this.#machine.post({ kind: "loaded", volumes: this.#orders.length });
  }

  async #discard(): Promise<void> {
    try {
      await this.#options.host.discard();
    } catch (cause) {
      this.#options.log.warn({ err: cause }, "what was loaded for a handoff could not be let go");
    }
  }

  async #take(action: { readonly generation: number; readonly deadlineMs: number }): Promise<void> {
    const { generation, deadlineMs } = action;
    const { host, onDie } = this.#options;
    try {
      const outcome = await host.take({ socket: this.#talk.socket, generation, deadlineMs });
      if (outcome.kind === "taken") this.#devices = outcome.devices;
      this.#machine.post({ kind: "took", outcome });
    } catch (cause) {
      // The port answers with outcomes; a rejection leaves open who has the devices.
      onDie(new WeirError("internal", `the window failed: ${messageOf(cause)}`, { cause }));
    }
  }

  async #adopt(outcome: Extract<TakeOutcome, { kind: "taken" }>): Promise<void> {
    try {
      await this.#options.host.adopt(outcome);
      this.#machine.post({ kind: "adopted" });
    } catch (cause) {
      this.#machine.post({ kind: "unadopted", reason: messageOf(cause) });
    }
  }
}
