// A volume loaded beside the engine that serves it, ready to take it over: the log is read without
// a claim, the journal without its lock. Nothing on disk or in the bucket changes before it is
// adopted.
import { readLog, type ReadLog } from "../../core/log/open-log.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { Epoch, Nonce, Position } from "../../core/runtime/ids.ts";
import type { BlockEngine, BlockVolume, VolumeEvents } from "./block-engine.ts";
import type { HandoffEngine, WarmTransport, WarmVolume } from "./handoff-port.ts";
import { decideJournal } from "./journal-decision.ts";
import { journalDirectoryOf, openOptionsOf, volumeBaseOf } from "./volume-options.ts";
import { VolumeSession, type SessionOptions, type SessionParts } from "./volume-session.ts";

interface WarmParts extends SessionParts {
  readonly engine: BlockEngine & HandoffEngine;
}

/** What the engine that serves says of the volume. */
export interface WarmSource extends SessionOptions {
  readonly transport: WarmTransport;
  readonly epoch: Epoch;
  readonly committed: Position;
  readonly journalId: Nonce;
}

export class WarmSession {
  readonly volume: WarmVolume;
  readonly source: WarmSource;
  readonly #parts: WarmParts;
  readonly #log: ReadLog;
  readonly #adopted: PromiseWithResolvers<VolumeSession>;

  private constructor(options: {
    readonly parts: WarmParts;
    readonly source: WarmSource;
    readonly log: ReadLog;
    readonly volume: WarmVolume;
    readonly adopted: PromiseWithResolvers<VolumeSession>;
  }) {
    this.#parts = options.parts;
    this.#log = options.log;
    this.#adopted = options.adopted;
    this.source = options.source;
    this.volume = options.volume;
  }

  static async load(
    parts: WarmParts,
    source: WarmSource,
    context: { readonly signal: AbortSignal },
  ): Promise<WarmSession> {
    const { store, clock, random, config, engine } = parts;
    const { uid, policy, epoch, committed, journalId, transport } = source;
    const { signal } = context;
    const log = await readLog({ store, clock, random, signal, volume: uid, at: committed });
    if (log.newestEpoch !== epoch) throw claimedElsewhere(source, log.newestEpoch);
    const journal = engine.inspectJournal(journalDirectoryOf(config, uid));
    const decision = decideJournal(journal, log);
    if (decision.kind !== "replay" || decision.journalId !== journalId) throw otherJournal(source);
    const adopted = Promise.withResolvers<VolumeSession>();
    const volume = await engine.warmVolume({
      open: openOptionsOf({ config, policy, uid, epoch, journalId }),
      base: volumeBaseOf(log, decision.journalEnd),
      transport,
      events: eventsOf(adopted.promise),
    });
    return new WarmSession({ parts, source, log, volume, adopted });
  }

  /** `volume` is what this warm volume has become: it serves already. */
  adopt(volume: BlockVolume, options: { readonly onMoved: () => void }): VolumeSession {
    const { uid, writer, policy, epoch, journalId } = this.source;
    const known = { uid, writer, policy, epoch, journalId };
    const found = { ...known, ...options, volume, log: this.#log };
    const session = VolumeSession.adopt(this.#parts, found);
    this.#adopted.resolve(session);
    return session;
  }
}

/** A volume serves a moment before it has its session; what it asks for meanwhile is kept. */
function eventsOf(session: Promise<VolumeSession>): VolumeEvents {
  const later = (act: (events: VolumeEvents) => void): void => {
    void session.then(({ events }) => act(events));
  };
  return {
    onFetch: (frame) => later((events) => events.onFetch(frame)),
    onChunk: (chunk) => later((events) => events.onChunk(chunk)),
    onDirty: (urgent) => later((events) => events.onDirty(urgent)),
    onFailed: (fault) => later((events) => events.onFailed(fault)),
  };
}

function claimedElsewhere({ uid, epoch }: WarmSource, newest: Epoch): WeirError {
  return new WeirError("fenced", "another node has claimed the volume: it cannot be taken over", {
    details: { volume: uid, epoch, newest },
  });
}

function otherJournal({ uid, journalId }: WarmSource): WeirError {
  return new WeirError(
    "journal-unsafe",
    "the journal of the engine that serves is not in this state directory: give both the same one",
    { details: { volume: uid, journalId } },
  );
}
