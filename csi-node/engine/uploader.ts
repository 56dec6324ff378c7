// Moves dirty data to the bucket: takes batches in journal order, puts several at once, commits in
// order.
//
// Relies on: I3 (a batch is a piece of the journal's order; only the committed prefix counts) and
// on the engine holding what is not committed. Who calls: VolumeSession, one per attached volume.
// Failure: a PUT that cannot be done is tried again for as long as the session lives; backpressure
// bounds what gathers meanwhile. `fenced` ends the uploader for good and is reported once.
import { assert } from "../../core/runtime/assert.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { asNonce, asSeq, type Epoch, type Seq } from "../../core/runtime/ids.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { abortable } from "../../core/runtime/timer-signals.ts";
import type { Batch, BlockVolume, VolumeStats } from "./block-engine.ts";

/** Commits one segment; resolves when it and all before it are in the bucket. Retries by itself. */
type CommitSegment = (segment: { seq: Seq; bytes: Uint8Array }) => Promise<void>;

/** Where segments go. */
export interface UploadTarget {
  readonly epoch: Epoch;
  readonly commit: CommitSegment;
}

/** What is uploaded: a volume, of which only this matters here. */
interface UploadSource extends Pick<BlockVolume, "takeBatch" | "commitBatch"> {
  stats(): Promise<Pick<VolumeStats, "journalEnd">>;
}

export interface UploaderOptions {
  readonly volume: UploadSource;
  /** Later than the session: a volume that was handed over serves before it has its own epoch. */
  readonly target: Promise<UploadTarget>;
  readonly clock: Clock;
  readonly random: Random;
  readonly maxDirtyAgeMs: number;
  readonly segmentBytes: number;
  readonly inFlightMax: number;
  /** A flush waits for its commit (class s3): urgent means everything, not one batch. */
  readonly drainWhenUrgent: boolean;
  /** After each commit, with the number of commits so far. */
  readonly onCommitted: (seq: Seq) => void;
  readonly onFault: (fault: WeirError) => void;
}

export class Uploader {
  readonly #options: UploaderOptions;
  readonly #stop = new AbortController();
  readonly #commits = new Set<Promise<void>>();
  #commitTail: Promise<void> = Promise.resolve();
  #lastSeq = asSeq(0);
  /** The journal's record up to which batches were taken. */
  #takenEnd = 0;
  #committedSeq = asSeq(0);
  #uploadedBytes = 0;
  #wanted = false;
  #urgent = false;
  #wake: (() => void) | undefined;
  #fault: WeirError | undefined;
  #running: Promise<void> | undefined;
  /** Present while no batch may be taken. */
  #pause: PromiseWithResolvers<void> | undefined;
  // takeBatch is called by the loop and by drain(); one at a time keeps sequence numbers and order.
  #taking: Promise<unknown> = Promise.resolve();
  /** Of the last batch: when it has been taken. */
  #begun: Promise<void> = Promise.resolve();

  constructor(options: UploaderOptions) {
    this.#options = options;
    // It is met with by the first batch, which may be late or never come.
    options.target.catch(() => undefined);
  }

  start(): void {
    assert(this.#running === undefined, "an uploader starts once");
    this.#running = this.#run();
  }

  /** From the engine: data waits. */
  notify(urgent: boolean): void {
    this.#wanted = true;
    this.#urgent ||= urgent;
    this.#wake?.();
  }

  get committedSeq(): Seq {
    return this.#committedSeq;
  }

  get uploadedBytes(): number {
    return this.#uploadedBytes;
  }

  /**
   * Resolves when everything acknowledged before the call is committed; what is written meanwhile
   * does not prolong it. `onProgress` after each batch.
   */
  async drain(options: { signal: AbortSignal; onProgress?: () => void }): Promise<void> {
    const { journalEnd } = await abortable(this.#options.volume.stats(), options.signal);
    while (this.#takenEnd < journalEnd) {
      options.signal.throwIfAborted();
      this.#throwIfFaulted();
      const taken = await abortable(this.#takeOne(), options.signal);
      options.onProgress?.();
      if (!taken) break;
    }
    await abortable(this.#commitTail, options.signal);
    this.#throwIfFaulted();
    options.onProgress?.();
  }

  /**
   * No batch is taken until resume(); resolves when those that were are committed, so that the log
   * stands still.
   */
  async pause(options: { signal: AbortSignal }): Promise<void> {
    options.signal.throwIfAborted();
    this.#pause ??= Promise.withResolvers<void>();
    await abortable(this.#options.target, options.signal);
    await abortable(this.#begun, options.signal);
    await abortable(this.#commitTail, options.signal);
    this.#throwIfFaulted();
  }

  resume(): void {
    this.#pause?.resolve();
    this.#pause = undefined;
  }

  /** Ends the loop; uploads in flight are abandoned to the journal, which still holds them. */
  async stop(): Promise<void> {
    this.#stop.abort(new WeirError("aborted", "the uploader was stopped"));
    this.resume();
    this.#wake?.();
    await this.#running;
    await Promise.allSettled(this.#commits);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted && this.#fault === undefined) {
      await this.#waitForWork(signal);
      if (signal.aborted) return;
      const drain = this.#urgent && this.#options.drainWhenUrgent;
      this.#wanted = false;
      this.#urgent = false;
      try {
        while (await this.#takeOne()) {
          if (!drain && !this.#urgent) break;
          this.#urgent = false;
        }
      } catch (cause) {
        this.#fail(cause);
      }
    }
  }

  /** Returns when a batch is due: at once when urgent, else when the oldest write is old enough. */
  async #waitForWork(signal: AbortSignal): Promise<void> {
    const { clock, maxDirtyAgeMs } = this.#options;
    while (!this.#wanted && !signal.aborted) await this.#sleepUntilWoken(signal);
    const due = clock.monotonicMs() + maxDirtyAgeMs;
    while (!this.#urgent && !signal.aborted) {
      const left = due - clock.monotonicMs();
      if (left <= 0) return;
      await this.#sleepUntilWoken(signal, left);
    }
  }

  async #sleepUntilWoken(signal: AbortSignal, forMs?: number): Promise<void> {
    const ended = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const timers =
      forMs === undefined
        ? []
        : [
            this.#options.clock
              .sleep(forMs, AbortSignal.any([signal, ended.signal]))
              .catch(() => undefined),
          ];
    await Promise.race([woken, ...timers]);
    ended.abort();
    this.#wake = undefined;
  }

  /** Takes one batch and begins its upload; false when there was nothing to take. */
  async #takeOne(): Promise<boolean> {
    const turn = this.#taking.then(() => this.#takeInTurn());
    this.#taking = turn.catch(() => undefined);
    return turn;
  }

  async #takeInTurn(): Promise<boolean> {
    while (this.#commits.size >= this.#options.inFlightMax) await Promise.race(this.#commits);
    const target = await abortable(this.#options.target, this.#stop.signal);
    // The last wait before the batch is begun: pause() may rely on it.
    while (this.#pause !== undefined) await this.#pause.promise;
    this.#throwIfFaulted();
    if (this.#stop.signal.aborted) return false;
    const taken = this.#takeNow(target);
    this.#begun = taken.then(
      () => undefined,
      () => undefined,
    );
    return taken;
  }

  async #takeNow(target: UploadTarget): Promise<boolean> {
    const seq = asSeq(this.#lastSeq + 1);
    const nonce = asNonce(this.#options.random.hex32());
    const batch = await this.#options.volume.takeBatch({
      epoch: target.epoch,
      seq,
      nonce,
      createdAtMs: this.#options.clock.wallMs(),
    });
    if (batch === null) return false;
    this.#lastSeq = seq;
    this.#takenEnd = batch.journalEnd;
    const commit = this.#commit({ seq, batch, target, before: this.#commitTail });
    this.#commitTail = commit;
    this.#commits.add(commit);
    void commit.finally(() => this.#commits.delete(commit));
    return true;
  }

  async #commit(options: {
    readonly seq: Seq;
    readonly batch: Batch;
    readonly target: UploadTarget;
    readonly before: Promise<void>;
  }): Promise<void> {
    const { seq, batch, target, before } = options;
    try {
      await target.commit({ seq, bytes: batch.bytes });
      await before;
      if (this.#fault !== undefined || this.#stop.signal.aborted) return;
      await this.#options.volume.commitBatch();
    } catch (cause) {
      this.#fail(cause);
      return;
    }
    this.#committedSeq = seq;
    this.#uploadedBytes += batch.bytes.length;
    this.#options.onCommitted(seq);
  }

  #fail(cause: unknown): void {
    if (this.#fault !== undefined || this.#stop.signal.aborted) return;
    this.#fault =
      cause instanceof WeirError
        ? cause
        : new WeirError("internal", "the upload failed unexpectedly", { cause });
    this.#options.onFault(this.#fault);
  }

  #throwIfFaulted(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }
}
