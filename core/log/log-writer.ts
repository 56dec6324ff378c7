// Commits segments of one epoch. Putting segment n is the commit, once all before it are there:
// several PUTs run at once, each resolves when the prefix up to it is in the bucket.
//
// Invariant: a number is only ever tried with one object's bytes, whatever is retried. Failure: a
// store that does not answer is asked again for as long as `signal` lives; the data waits in the
// journal. A foreign object at our number means that another epoch ended ours: from then on
// everything at or behind that number rejects with `fenced`, for good. What is before it may still
// commit: it is part of the log whoever goes on with it.

import { FAULTS, WeirError } from "../runtime/errors.ts";
import { asSeq } from "../runtime/ids.ts";
import type { Epoch, Nonce, Seq, VolumeUid } from "../runtime/ids.ts";
import { abortReason, checkAbort } from "../runtime/timer-signals.ts";
import type { LogContext } from "./context.ts";
import { Backoff } from "./context.ts";
import { createOwned } from "./create-object.ts";
import { logKey } from "./keys.ts";
import { SEGMENT_HEADER_BYTES } from "./limits.ts";
import { decodeLogHeader } from "./segment-codec.ts";

export interface LogWriterOptions extends LogContext {
  readonly volume: VolumeUid;
  /** Claimed by openLog; this writer is its only one. */
  readonly epoch: Epoch;
  /** Called when a PUT could not be done and will be tried again: for a condition. */
  readonly onRetry?: (fault: WeirError, seq: Seq) => void;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (fault: unknown) => void;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  /** The nonce that each uncommitted number was tried with. */
  readonly #nonces = new Map<number, Nonce>();
  /** In the bucket, but not yet committed: something before is missing. */
  readonly #stored = new Set<number>();
  readonly #underWay = new Set<number>();
  #waiters: Waiter[] = [];
  #committed = 0;
  #fence: { readonly seq: number; readonly fault: WeirError } | undefined;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    const { signal } = options;
    signal.addEventListener("abort", () => this.#rejectFrom(0, abortReason(signal)), {
      once: true,
    });
  }

  /** The last number that is committed; 0 before the first. */
  get committedSeq(): Seq {
    return asSeq(this.#committed);
  }

  /** Why this writer may not write any more. */
  get fenced(): WeirError | undefined {
    return this.#fence?.fault;
  }

  /**
   * Puts one segment; resolves when it and all before it are in the bucket. `bytes` is the whole
   * object, made for this epoch and `seq`. After a failure that is not `fenced`, call again with
   * the same bytes.
   */
  async commitSegment(segment: { readonly seq: Seq; readonly bytes: Uint8Array }): Promise<void> {
    const { seq } = segment;
    this.#throwIfEnded();
    this.#checkIdentity(segment);
    if (seq <= this.#committed) return;
    if (!this.#stored.has(seq)) await this.#put(segment);
    await this.#prefixOf(seq);
  }

  async #put(segment: { readonly seq: Seq; readonly bytes: Uint8Array }): Promise<void> {
    const { seq } = segment;
    if (this.#underWay.has(seq)) throw defect("a segment is committed twice at the same time", seq);
    this.#underWay.add(seq);
    try {
      await this.#putUntilClear(segment);
    } finally {
      this.#underWay.delete(seq);
    }
  }

  async #putUntilClear({ seq, bytes }: { readonly seq: Seq; readonly bytes: Uint8Array }) {
    const { volume, epoch, onRetry } = this.#options;
    const key = logKey({ volume, epoch, seq });
    const backoff = new Backoff(this.#options);
    for (;;) {
      try {
        const readBackBytes = SEGMENT_HEADER_BYTES;
        const outcome = await createOwned({ ...this.#options, key, bytes, readBackBytes });
        if (outcome.kind === "foreign") throw this.#fenceAt(seq, outcome.bytes);
        this.#stored.add(seq);
        this.#advance();
        return;
      } catch (cause) {
        checkAbort(this.#options.signal);
        if (!(cause instanceof WeirError) || !FAULTS[cause.code].retryable) throw cause;
        onRetry?.(cause, seq);
        await backoff.wait(cause);
      }
    }
  }

  #advance(): void {
    while (this.#stored.delete(this.#committed + 1)) {
      this.#committed += 1;
      this.#nonces.delete(this.#committed);
    }
    const done = this.#waiters.filter(({ seq }) => seq <= this.#committed);
    this.#waiters = this.#waiters.filter(({ seq }) => seq > this.#committed);
    for (const waiter of done) waiter.resolve();
  }

  async #prefixOf(seq: number): Promise<void> {
    if (seq <= this.#committed) return;
    if (this.#fence !== undefined && seq >= this.#fence.seq) throw this.#fence.fault;
    checkAbort(this.#options.signal);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiters.push({ seq, resolve, reject });
    await promise;
  }

  /** Remembers the lowest foreign number: what is at or behind it is not part of the log. */
  #fenceAt(seq: number, found: Uint8Array): WeirError {
    const { volume, epoch } = this.#options;
    const fault = new WeirError("fenced", fenceMessage(found), { details: { volume, epoch, seq } });
    if (this.#fence === undefined || seq < this.#fence.seq) this.#fence = { seq, fault };
    this.#rejectFrom(seq, fault);
    return fault;
  }

  #rejectFrom(seq: number, fault: unknown): void {
    const lost = this.#waiters.filter((waiter) => waiter.seq >= seq);
    this.#waiters = this.#waiters.filter((waiter) => waiter.seq < seq);
    for (const waiter of lost) waiter.reject(fault);
  }

  #throwIfEnded(): void {
    if (this.#fence !== undefined) throw this.#fence.fault;
    checkAbort(this.#options.signal);
  }

  /**
   * Guards the border: bytes of another place, or other bytes for a number already tried, are a
   * defect.
   */
  #checkIdentity({ seq, bytes }: { readonly seq: Seq; readonly bytes: Uint8Array }): void {
    const { volume, epoch } = this.#options;
    const header = decodeLogHeader(bytes, { volume, epoch, seq });
    if (header.kind !== "segment") throw defect("only segments are committed", seq);
    if (seq <= this.#committed) return;
    const tried = this.#nonces.get(seq);
    if (tried !== undefined && tried !== header.nonce) {
      throw defect("a number was tried with another segment before", seq);
    }
    this.#nonces.set(seq, header.nonce);
  }
}

function fenceMessage(found: Uint8Array): string {
  const taken = "this node may not write to the volume any more, because";
  try {
    const header = decodeLogHeader(found);
    if (header.kind === "seal")
      return `${taken} it was opened elsewhere with epoch ${header.sealedByEpoch}`;
    return `${taken} another writer uses its epoch ${header.epoch}`;
  } catch {
    return `${taken} something else lies at its place in the log`;
  }
}

function defect(message: string, seq: number): WeirError {
  return new WeirError("internal", message, { details: { seq } });
}
