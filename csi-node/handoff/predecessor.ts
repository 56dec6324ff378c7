// The engine that serves, ready to be taken over: runs predecessor-machine.ts over the socket and
// the engine's own side of things.
//
// Owns: the connection under way, its calm, its timers. One handoff at a time; whoever else
// connects is told so. Failure: what the host cannot do becomes an event of the machine; a state
// that cannot be left in order ends the process (`onDie`), and crash recovery does the rest.
import { messageOf, WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import type { DeviceStall, GiveOutcome, HandoffSocket } from "../engine/handoff-port.ts";
import { MachineRunner } from "./machine-runner.ts";
import { encodeMessage, VERSION_MAX, VERSION_MIN, warmPages, type WarmOrder } from "./messages.ts";
import type { Owners } from "./owners.ts";
import {
  stepPredecessor,
  type PredecessorAction,
  type PredecessorEvent,
  type PredecessorState,
} from "./predecessor-machine.ts";
import { logReport, worstStallUs, type HandoffOutcome, type HandoffReport } from "./report.ts";
import { Talk } from "./talk.ts";

/** What a handoff needs of the engine that serves. */
export interface PredecessorHost {
  /**
   * No upload, checkpoint or change of a volume begins from now on; resolves when what was under
   * way has ended, with all that is to be taken over.
   */
  calm(signal: AbortSignal): Promise<readonly WarmOrder[]>;
  /** Resolves when the calm must end, with the reason; rejects when the signal ends it. */
  pressure(signal: AbortSignal): Promise<string>;
  /** Ends the calm, also one that is still coming. */
  resume(): void;
  give(options: GiveOptions): Promise<GiveOutcome>;
  /** Closes everything: another engine serves. */
  release(): Promise<void>;
  /** Forgets these volumes and recovers them as after a crash; resolves when that has begun. */
  startOver(uids: readonly string[]): Promise<void>;
}

interface GiveOptions {
  readonly socket: HandoffSocket;
  readonly generation: number;
  readonly inBatches: boolean;
}

export interface PredecessorOptions {
  readonly host: PredecessorHost;
  readonly owners: Owners;
  readonly generation: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onReport: (report: HandoffReport) => void;
  /** This process cannot go on: end it at once. */
  readonly onDie: (fault: WeirError) => void;
  readonly onState?: (name: string) => void;
}

export class HandoffPredecessor {
  readonly #options: PredecessorOptions;
  readonly #machine: MachineRunner<PredecessorState, PredecessorEvent, PredecessorAction>;
  #talk: Talk | undefined;
  #orders: readonly WarmOrder[] = [];
  #devices: readonly DeviceStall[] = [];
  /** What the successor has, or had. */
  #passed: readonly string[] = [];
  #generation: number;
  #calm: AbortController | undefined;
  #homecoming = Promise.withResolvers<void>();

  constructor(options: PredecessorOptions) {
    this.#options = options;
    this.#generation = options.generation;
    this.#homecoming.resolve();
    this.#machine = new MachineRunner<PredecessorState, PredecessorEvent, PredecessorAction>({
      initial: { name: "serving", generation: options.generation },
      step: stepPredecessor,
      perform: (action) => this.#perform(action),
      onDeadline: { kind: "deadline" },
      onState: (name) => this.#entered(name),
      clock: options.clock,
    });
  }

  /** `idle`: another engine serves. */
  get state(): PredecessorState["name"] {
    return this.#machine.state.name;
  }

  /** From the listener. */
  connect(socket: HandoffSocket): void {
    if (this.state !== "serving") {
      void this.#turnAway(socket);
      return;
    }
    this.#orders = [];
    this.#devices = [];
    this.#machine.takePhases();
    this.#talk = new Talk({
      socket,
      clock: this.#options.clock,
      post: (event) => this.#machine.post(event),
    });
    this.#machine.post({ kind: "connected" });
  }

  /** Calls off what can be called off; resolves at home: serving, or idle. */
  async stop(): Promise<void> {
    this.#machine.post({ kind: "stop" });
    await this.#homecoming.promise;
  }

  /** Resolves at the end of the handoff that is under way. */
  async atHome(): Promise<void> {
    await this.#homecoming.promise;
  }

  async #turnAway(socket: HandoffSocket): Promise<void> {
    socket.listen({ onMessage: () => undefined, onClose: () => undefined });
    const reason = "another handoff is under way, or has taken place";
    const refuse = { kind: "refuse", reason, min: VERSION_MIN, max: VERSION_MAX } as const;
    await socket.send(encodeMessage(refuse)).catch(() => undefined);
    socket.close();
  }

  #entered(name: string): void {
    const home = name === "serving" || name === "idle";
    if (home) this.#homecoming.resolve();
    else if (name === "greeting") this.#homecoming = Promise.withResolvers<void>();
    this.#options.onState?.(name);
  }

  #perform(action: PredecessorAction): void {
    switch (action.do) {
      case "arm":
        return this.#machine.arm(action.ms);
      case "disarm":
        return this.#machine.disarm();
      case "send":
        return this.#talk?.send(action.message);
      case "calm":
        return void this.#becomeCalm();
      case "resume":
        this.#calm?.abort();
        return this.#options.host.resume();
      case "send-orders":
        for (const page of warmPages(this.#orders)) this.#talk?.send(page);
        return;
      case "give":
        return void this.#give(action);
      case "release":
        return void this.#release();
      case "reclaim":
        return void this.#reclaim(action.generation);
      case "close":
        return this.#talk?.close();
      case "report":
        return this.#report(action.outcome, action.reason);
      case "die":
        return this.#options.onDie(new WeirError("internal", action.reason));
    }
  }

  async #becomeCalm(): Promise<void> {
    const calm = new AbortController();
    this.#calm = calm;
    const { host } = this.#options;
    try {
      const orders = await host.calm(calm.signal);
      if (calm.signal.aborted) return;
      this.#orders = orders;
      this.#machine.post({ kind: "settled" });
    } catch (cause) {
      if (!calm.signal.aborted) this.#machine.post({ kind: "unsettled", reason: messageOf(cause) });
      return;
    }
    const reason = await host.pressure(calm.signal).catch(() => undefined);
    if (reason !== undefined) this.#machine.post({ kind: "pressure", reason });
  }

  async #give(options: Omit<GiveOptions, "socket">): Promise<void> {
    const talk = this.#talk;
    if (talk === undefined) return;
    const { generation, inBatches } = options;
    const outcome = await this.#giveAll({ socket: talk.socket, generation, inBatches });
    if (outcome.kind !== "lost") this.#devices = outcome.devices;
    this.#passed = outcome.kind === "lost" ? outcome.uids : this.#orders.map(({ uid }) => uid);
    this.#machine.post({ kind: "gave", outcome });
  }

  async #giveAll(options: GiveOptions): Promise<GiveOutcome> {
    const { host, onDie } = this.#options;
    try {
      return await host.give(options);
    } catch (cause) {
      // The port answers with outcomes; a rejection leaves open who has the devices.
      onDie(new WeirError("internal", `the window failed: ${messageOf(cause)}`, { cause }));
      return { kind: "lost", reason: messageOf(cause), uids: [] };
    }
  }

  async #release(): Promise<void> {
    this.#calm?.abort();
    try {
      await this.#options.host.release();
      this.#machine.post({ kind: "released" });
    } catch (cause) {
      this.#options.onDie(new WeirError("internal", messageOf(cause), { cause }));
    }
  }

  /** The successor is made sure to be dead before anybody else may own what it had. */
  async #reclaim(generation: number): Promise<void> {
    this.#calm?.abort();
    const { owners, host, onDie } = this.#options;
    try {
      await this.#talk?.socket.killPeer();
      if (!(await owners.claim(generation))) {
        this.#machine.post({ kind: "overtaken" });
        return;
      }
      await host.startOver(this.#passed);
      this.#machine.post({ kind: "reclaimed", generation });
    } catch (cause) {
      onDie(new WeirError("internal", messageOf(cause), { cause }));
    }
  }

  #report(outcome: HandoffOutcome, reason: string | undefined): void {
    const { clock, log, onReport } = this.#options;
    const { state } = this.#machine;
    if ("generation" in state) this.#generation = state.generation;
    const report: HandoffReport = {
      outcome,
      generation: this.#generation,
      reason,
      peerBuild: this.#talk?.peerBuild ?? "",
      phasesMs: this.#machine.takePhases(),
      devices: this.#devices,
      worstStallUs: worstStallUs(this.#devices),
      endedAtMs: clock.wallMs(),
    };
    logReport(log, report);
    onReport(report);
  }
}
