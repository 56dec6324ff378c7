// The engine of a node as both roles of a handoff see it: what it takes to hold its volumes still,
// give them away, load them beside another engine, and take them over.
//
// Owns: the calm (gate, paused sessions, held journals) and what is warm. Failure: each step leaves
// the engine so that resume() or discard() alone brings everything back.
import { mapParallel } from "../../core/log/context.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { BlockEngine } from "../engine/block-engine.ts";
import type { Attached, EngineHost } from "../engine/engine-host.ts";
import type {
  GiveOutcome,
  HandoffEngine,
  HandoffSocket,
  TakeOutcome,
  WarmTransport,
} from "../engine/handoff-port.ts";
import { WarmSession } from "../engine/warm-session.ts";
import { DEADLINES_MS } from "./deadlines.ts";
import type { WarmOrder } from "./messages.ts";
import type { Owners } from "./owners.ts";
import type { PredecessorHost } from "./predecessor.ts";
import type { SuccessorHost } from "./successor.ts";

const PRESSURE_POLL_MS = 500;
/** Writes are slowed from 70 % of the dirty bytes allowed on: a handoff must not be why. */
const DIRTY_SHARE_MAX = 0.7;
const JOURNAL_SHARE_MAX = 0.95;
/** What a calm had better begin with, so that it can last; and how long that is tried for. */
const DIRTY_SHARE_WANTED = 0.35;
const EASE_MS = 5_000;
const EASE_POLL_MS = 50;

export interface EngineHandoverOptions {
  readonly host: EngineHost;
  readonly engine: BlockEngine & HandoffEngine;
  readonly owners: Owners;
  /** After the sessions exist, before the predecessor is told: the successor's sockets. */
  readonly onAdopted?: () => Promise<void>;
  /** Closes all of the process that serves volumes, the host with it. */
  readonly onRelease?: () => Promise<void>;
}

interface Loaded {
  readonly order: WarmOrder;
  readonly session: WarmSession;
}

export class EngineHandover implements PredecessorHost, SuccessorHost {
  readonly #options: EngineHandoverOptions;
  /** What is on offer during a calm: volumes that answer EIO are recovered by the successor. */
  #calm: readonly Attached[] = [];
  #loaded: readonly Loaded[] = [];

  constructor(options: EngineHandoverOptions) {
    this.#options = options;
  }

  async calm(signal: AbortSignal): Promise<readonly WarmOrder[]> {
    const { host, engine } = this.#options;
    await host.gate.close(signal);
    const offered = host.attached.filter(({ session }) => session.fault === undefined);
    this.#calm = offered;
    await this.#ease(signal);
    await Promise.all(offered.map(({ session }) => session.pause(signal)));
    await Promise.all(offered.map(({ session }) => engine.holdJournal(session.volume, true)));
    return Promise.all(offered.map((attached) => orderOf(attached)));
  }

  /** Uploads in a hurry for a while where much is dirty. */
  async #ease(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.host.parts;
    const endMs = clock.monotonicMs() + EASE_MS;
    while (clock.monotonicMs() < endMs) {
      const shares = await Promise.all(this.#calm.map((attached) => dirtyShareOf(attached)));
      const heavy = this.#calm.filter((_, index) => (shares[index] ?? 0) > DIRTY_SHARE_WANTED);
      if (heavy.length === 0) return;
      for (const { session } of heavy) session.hasten();
      await clock.sleep(EASE_POLL_MS, signal);
    }
  }

  async pressure(signal: AbortSignal): Promise<string> {
    for (;;) {
      for (const attached of this.#calm) {
        const stats = await attached.session.volume.stats();
        const journalShare = stats.journalUsedBytes / Math.max(stats.journalCapacityBytes, 1);
        const dirtyShare = await dirtyShareOf(attached);
        if (dirtyShare > DIRTY_SHARE_MAX || journalShare > JOURNAL_SHARE_MAX) {
          return `too much is dirty to hold uploads back any longer: ${attached.record.name}`;
        }
      }
      await this.#options.host.parts.clock.sleep(PRESSURE_POLL_MS, signal);
    }
  }

  resume(): void {
    const { host } = this.#options;
    const calm = this.#calm;
    this.#calm = [];
    for (const { session } of calm) {
      session.resume();
      void this.#letJournalGo(session.volume);
    }
    host.gate.open("open");
  }

  async #letJournalGo(volume: Attached["session"]["volume"]): Promise<void> {
    const { engine, host } = this.#options;
    try {
      await engine.holdJournal(volume, false);
    } catch (cause) {
      host.parts.log.warn({ err: cause }, "a journal is still held after a handoff");
    }
  }

  async give(options: {
    readonly socket: HandoffSocket;
    readonly generation: number;
    readonly inBatches: boolean;
  }): Promise<GiveOutcome> {
    const { engine } = this.#options;
    const offered = this.#calm;
    const volumes = this.#calm.map(({ session }) => ({
      uid: session.uid,
      volume: session.volume,
    }));
    const deadlineMs = DEADLINES_MS.window;
    for (const { session } of offered) session.answers.hold();
    const outcome = await engine.giveAll({ ...options, ...this.#owning(), deadlineMs, volumes });
    for (const { session } of offered) {
      const isGone =
        outcome.kind === "given" || (outcome.kind === "lost" && outcome.uids.includes(session.uid));
      session.answers.letGo(isGone ? "gone" : "kept");
    }
    return outcome;
  }

  async release(): Promise<void> {
    this.#calm = [];
    this.#options.host.gate.open("handed-over");
    await this.#options.onRelease?.();
  }

  async startOver(uids: readonly string[]): Promise<void> {
    this.#calm = this.#calm.filter(({ session }) => !uids.includes(session.uid));
    await this.#options.host.startOver(uids);
  }

  async load(
    orders: readonly WarmOrder[],
    context: {
      readonly signal: AbortSignal;
      readonly onProgress: (progress: { readonly loaded: number; readonly of: number }) => void;
    },
  ): Promise<void> {
    const { host, engine } = this.#options;
    const { signal, onProgress } = context;
    const parts = { ...host.parts, engine };
    const { writer } = host;
    let done = 0;
    await mapParallel(orders, async (order) => {
      const session = await WarmSession.load(parts, { ...order, writer }, { signal });
      this.#loaded = [...this.#loaded, { order, session }];
      done += 1;
      onProgress({ loaded: done, of: orders.length });
    });
    // The window begins with little left to read.
    await Promise.all(this.#loaded.map(({ session }) => session.volume.catchUp()));
  }

  async discard(): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = [];
    await Promise.all(loaded.map(({ session }) => session.volume.discard()));
  }

  async take(options: {
    readonly socket: HandoffSocket;
    readonly generation: number;
    readonly deadlineMs: number;
  }): Promise<TakeOutcome> {
    const volumes = this.#loaded.map(({ order, session }) => ({
      uid: order.uid,
      volume: session.volume,
    }));
    const outcome = await this.#options.engine.takeAll({ ...options, ...this.#owning(), volumes });
    if (outcome.kind === "refused") this.#loaded = [];
    return outcome;
  }

  async adopt({ volumes }: Extract<TakeOutcome, { kind: "taken" }>): Promise<void> {
    const { host, onAdopted } = this.#options;
    for (const [index, { order, session: warm }] of this.#loaded.entries()) {
      const volume = volumes[index];
      if (volume === undefined) throw new WeirError("internal", "a volume was not handed over");
      const { uid, name, policy, transport } = order;
      const onMoved = (): void => void host.reopen(uid);
      const session = warm.adopt(volume, { onMoved });
      host.adopt(session, { uid, name, policy, transport });
    }
    this.#loaded = [];
    await onAdopted?.();
  }

  #owning(): { readonly owners: string; readonly identity: string } {
    const { owners } = this.#options;
    return { owners: owners.directory, identity: JSON.stringify(owners.identity) };
  }
}

async function dirtyShareOf({ session }: Attached): Promise<number> {
  const { dirtyBytes } = await session.volume.stats();
  return dirtyBytes / session.policy.maxDirtyBytes;
}

async function orderOf({ session, record }: Attached): Promise<WarmOrder> {
  const { uid, name, policy } = record;
  const place = await session.place();
  return { uid, name, policy, transport: transportOf(record), ...place };
}

function transportOf({ name, transport }: Attached["record"]): WarmTransport {
  if (transport.kind === "nbd") {
    return { kind: "nbd", socketPath: transport.socketPath, exportName: name };
  }
  const { depth, deviceId } = transport;
  if (deviceId === null) throw new WeirError("internal", "an attached volume has no device");
  return { kind: "ublk", depth, deviceId };
}
