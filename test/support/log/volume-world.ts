// A volume with several writers, readers and a janitor in one scheduled run, and a judge who knows
// the truth.
//
// The truth comes from the bucket alone and from what the janitor took out of it, by the shortest
// reading of FORMAT.md's rules: epoch by epoch, numbers from 1 to the first SEAL or the first
// missing one.

import { WeirError } from "../../../core/runtime/errors.ts";
import { comparePositions } from "../../../core/runtime/ids.ts";
import type { Epoch, Nonce, Position, Seq, VolumeUid } from "../../../core/runtime/ids.ts";
import { asEpoch, asSeq } from "../../../core/runtime/ids.ts";
import { FakeClock } from "../../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../../core/runtime/seeded-random.ts";
import { MemoryStore } from "../../../core/store/memory-store.ts";
import type { ObjectStore } from "../../../core/store/object-store.ts";
import { findCheckpoint, writeCheckpoint } from "../../../core/log/checkpoints.ts";
import type { LogContext } from "../../../core/log/context.ts";
import { logKey, logPrefix, parseLogKey } from "../../../core/log/keys.ts";
import { LogWriter } from "../../../core/log/log-writer.ts";
import { openLog, readLog } from "../../../core/log/open-log.ts";
import type { LogView, OpenedLog } from "../../../core/log/open-log.ts";
import { decodeLogHeader } from "../../../core/log/segment-codec.ts";
import { createVolume } from "../../../core/log/volumes.ts";
import { GIB, JOURNAL, sampleSegment } from "./samples.ts";
import { ScheduledStore } from "./scheduled-store.ts";
import { ScheduledClock, Scheduler } from "./scheduler.ts";

/** What is under test; a planted fault replaces one of them. */
export interface Parts {
  readonly open: (
    options: LogContext & { volume: VolumeUid; writer: string },
  ) => Promise<OpenedLog>;
  readonly writer: (options: LogContext & { volume: VolumeUid; epoch: Epoch }) => SegmentWriter;
  readonly read: (options: LogContext & { volume: VolumeUid }) => Promise<LogView>;
}

export interface SegmentWriter {
  commitSegment(segment: { seq: Seq; bytes: Uint8Array }): Promise<void>;
}

export const REAL_PARTS: Parts = {
  open: openLog,
  writer: (options) => new LogWriter(options),
  read: readLog,
};

interface Attempt extends Position {
  readonly nonce: Nonce;
  acked: boolean;
}

/** A writer's life. */
export interface WriterLife {
  readonly name: string;
  readonly store: ScheduledStore;
  opened?: OpenedLog;
  /** The first fault that ended it. */
  fault?: Error;
  /** Commits one segment more; set once it is open. */
  commitNext?: () => Promise<void>;
}

export class VolumeWorld {
  readonly scheduler: Scheduler;
  readonly bucket: MemoryStore;
  readonly writers: WriterLife[] = [];
  readonly attempts: Attempt[] = [];
  readonly #parts: Parts;
  readonly #random: SeededRandom;
  readonly #signal = new AbortController().signal;
  readonly #faultRate: number;
  /** What the janitor deleted. */
  readonly #cleaned = new Map<string, Uint8Array>();
  #volume: VolumeUid | undefined;

  constructor(options: { seed: number; parts?: Parts; faultRate?: number }) {
    this.#random = new SeededRandom(options.seed);
    this.#parts = options.parts ?? REAL_PARTS;
    this.#faultRate = options.faultRate ?? [0, 0.1, 0.3, 0.5][this.#random.integer(4)] ?? 0;
    this.scheduler = new Scheduler(this.#random.fork());
    this.bucket = new MemoryStore({ clock: new FakeClock() });
  }

  get volume(): VolumeUid {
    if (this.#volume === undefined) throw new Error("create() comes first");
    return this.#volume;
  }

  async create(): Promise<void> {
    const context = { ...this.#contextOf(this.bucket), clock: new FakeClock() };
    const record = await createVolume({ ...context, name: "v", sizeBytes: GIB });
    this.#volume = record.uid;
  }

  client(options: { name: string; faultRate?: number; diesAtCall?: number }): ScheduledStore {
    const { name, ...rest } = options;
    return new ScheduledStore({
      bucket: this.bucket,
      scheduler: this.scheduler,
      random: this.#random.fork(),
      client: name,
      faultRate: this.#faultRate,
      ...rest,
    });
  }

  /** Begins some steps from now, opens the volume and commits `count` segments, three at a time. */
  async liveAsWriter(
    name: string,
    options: { count: number; checkpoints: boolean },
  ): Promise<void> {
    const store = this.client({ name });
    const life: WriterLife = { name, store };
    this.writers.push(life);
    try {
      await this.#idle(this.#random.integer(30));
      const context = this.#contextOf(store);
      life.opened = await this.#parts.open({ ...context, volume: this.volume, writer: name });
      const { epoch } = life.opened;
      const writer = this.#parts.writer({ ...context, volume: this.volume, epoch });
      let last = 0;
      life.commitNext = () => {
        last += 1;
        return this.#commit(writer, { epoch, seq: asSeq(last) });
      };
      for (let done = 0; done < options.count; done += 3) {
        await Promise.all([life.commitNext(), life.commitNext(), life.commitNext()]);
        if (options.checkpoints) await this.#checkpoint(context, { epoch, seq: asSeq(last) });
      }
    } catch (cause) {
      life.fault = asError(cause);
    }
  }

  /** A third party reads, opens, or dies while opening. */
  readAs(store: ObjectStore): Promise<LogView> {
    return this.#parts.read({ ...this.#contextOf(store), volume: this.volume });
  }

  openAs(store: ObjectStore): Promise<OpenedLog> {
    return this.#parts.open({ ...this.#contextOf(store), volume: this.volume, writer: "third" });
  }

  /**
   * The janitor with no grace at all: deletes everything that the newest checkpoint covers, when it
   * likes.
   */
  async liveAsJanitor(rounds: number): Promise<void> {
    const context = this.#contextOf(this.client({ name: "janitor", faultRate: 0 }));
    for (let round = 0; round < rounds; round += 1) {
      await this.#idle(this.#random.integer(20));
      const newest = await findCheckpoint({ ...context, volume: this.volume });
      if (newest === undefined) continue;
      const { objects } = await context.store.list(logPrefix(this.volume));
      for (const { key } of objects) {
        const place = parseLogKey(key);
        if (place === undefined || comparePositions(place, newest) > 0) continue;
        await this.#clean(context.store, key);
      }
    }
  }

  /** The committed log: nonces in order. `before` leaves out that epoch and later ones. */
  async truth(before?: Epoch): Promise<readonly (Position & { nonce: Nonce })[]> {
    const committed: (Position & { nonce: Nonce })[] = [];
    const end = before ?? Number.MAX_SAFE_INTEGER;
    for (let epoch = 1; epoch < end; epoch += 1) {
      for (let seq = 1; ; seq += 1) {
        const bytes = await this.#everAt({ epoch: asEpoch(epoch), seq: asSeq(seq) });
        if (bytes === undefined) return committed;
        const header = decodeLogHeader(bytes);
        if (header.kind === "seal") break;
        committed.push({ epoch: asEpoch(epoch), seq: asSeq(seq), nonce: header.nonce });
      }
    }
    return committed;
  }

  /** What is wrong with `view` as seen by who may write from epoch `before` on. Empty: nothing. */
  async judgeView(name: string, view: LogView, before?: Epoch): Promise<readonly string[]> {
    const truth = await this.truth(before);
    const base = view.checkpoint?.header ?? { epoch: asEpoch(0), seq: asSeq(0) };
    const expected = truth.filter((at) => comparePositions(at, base) > 0).map(nameOf);
    const found = view.segments.map(({ position, header }) =>
      nameOf({ ...position, nonce: header.nonce }),
    );
    if (expected.join() === found.join()) return [];
    return [`${name} saw [${found.join(", ")}] but committed was [${expected.join(", ")}]`];
  }

  /** Every acknowledgement kept, nothing foreign in the log. */
  async judgeLog(): Promise<readonly string[]> {
    const truth = new Set((await this.truth()).map(nameOf));
    const known = new Set(this.attempts.map(nameOf));
    const lost = this.attempts.filter((attempt) => attempt.acked && !truth.has(nameOf(attempt)));
    const foreign = [...truth].filter((name) => !known.has(name));
    return [
      ...lost.map((attempt) => `acknowledged, but not in the log: ${nameOf(attempt)}`),
      ...foreign.map((name) => `in the log, but nobody wrote it: ${name}`),
    ];
  }

  #contextOf(store: ObjectStore): LogContext {
    return {
      store,
      clock: new ScheduledClock(this.scheduler),
      random: this.#random.fork(),
      signal: this.#signal,
    };
  }

  async #idle(steps: number): Promise<void> {
    for (let step = 0; step < steps; step += 1) await this.scheduler.step("idle", async () => {});
  }

  async #commit(writer: SegmentWriter, at: Position): Promise<void> {
    const { bytes, nonce } = sampleSegment({ volume: this.volume, random: this.#random, ...at });
    const attempt: Attempt = { ...at, nonce, acked: false };
    this.attempts.push(attempt);
    await writer.commitSegment({ seq: at.seq, bytes });
    attempt.acked = true;
  }

  async #checkpoint(context: LogContext, position: Position): Promise<void> {
    await writeCheckpoint({
      ...context,
      volume: this.volume,
      position,
      journalId: JOURNAL,
      journalEnd: position.seq * 10,
      volumeSizeBytes: GIB,
      previous: null,
      changed: [],
    });
  }

  /** Deletes a segment, and never a SEAL. */
  async #clean(store: ObjectStore, key: string): Promise<void> {
    const found = await this.bucket.get(key);
    if (found.kind === "absent" || decodeLogHeader(found.bytes).kind === "seal") return;
    this.#cleaned.set(key, found.bytes);
    await store.delete(key);
  }

  /** The first object that was at a place: what the janitor took counts before what came later. */
  async #everAt(position: Position): Promise<Uint8Array | undefined> {
    const key = logKey({ volume: this.volume, ...position });
    const cleaned = this.#cleaned.get(key);
    if (cleaned !== undefined) return cleaned;
    const found = await this.bucket.get(key);
    return found.kind === "found" ? found.bytes : undefined;
  }
}

export function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error("something odd was thrown", { cause });
}

export function isFenced(cause: unknown): boolean {
  return cause instanceof WeirError && cause.code === "fenced";
}

function nameOf(at: Position & { readonly nonce: Nonce }): string {
  return `${at.epoch}/${at.seq}:${at.nonce.slice(0, 4)}`;
}
