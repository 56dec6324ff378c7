// A queue of keys that want work. A key is in it at most once, is worked on by at most one worker
// at a time, and is worked on again when it was added during its work. A key whose work failed
// comes back after a delay that doubles from failure to failure; nothing is ever dropped, and the
// number of keys bounds the queue.

import type { Clock, Random } from "../runtime/ports.ts";
import { backoffDelayMs } from "../runtime/retry.ts";
import type { Backoff } from "../runtime/retry.ts";
import { abortReason } from "../runtime/timer-signals.ts";

const BACKOFF: Backoff = { firstDelayMs: 10, maxDelayMs: 5 * 60_000 };
/** The exponent stops here; by then the delay has long reached its limit. */
const ATTEMPTS_MAX = 32;

/** What the work on a key came to. */
export type Outcome =
  /** Nothing is left to do until something changes. */
  | { readonly kind: "done" }
  /** Look again after this time; not a failure. */
  | { readonly kind: "again"; readonly afterMs: number }
  /** Try again with growing delays. */
  | { readonly kind: "failed" };

export interface WorkQueueOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly concurrency: number;
  readonly backoff?: Backoff;
  /** Must not throw: the owner of the work decides what a fault means. */
  readonly work: (key: string, signal: AbortSignal) => Promise<Outcome>;
}

export class WorkQueue implements AsyncDisposable {
  readonly #options: WorkQueueOptions;
  /** In order of arrival. */
  readonly #ready = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  /** Running keys that were added again. */
  readonly #dirty = new Set<string>();
  readonly #attempts = new Map<string, number>();
  /** Keys that wait for their time, and when that is. */
  readonly #delayed = new Map<string, { readonly atMs: number; readonly stop: AbortController }>();
  readonly #stop = new AbortController();

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Wants work on the key now, whatever delay it was waiting for. */
  add(key: string): void {
    if (this.#stop.signal.aborted) return;
    this.#forgetDelay(key);
    if (this.#running.has(key)) this.#dirty.add(key);
    else this.#ready.add(key);
    this.#start();
  }

  /** Wants work on the key after `delayMs`, or earlier when it is wanted earlier already. */
  addAfter(key: string, delayMs: number): void {
    if (this.#stop.signal.aborted || this.#ready.has(key) || this.#dirty.has(key)) return;
    const { clock } = this.#options;
    const atMs = clock.monotonicMs() + delayMs;
    if ((this.#delayed.get(key)?.atMs ?? Infinity) <= atMs) return;
    this.#forgetDelay(key);
    const stop = new AbortController();
    this.#delayed.set(key, { atMs, stop });
    clock.sleep(delayMs, stop.signal).then(
      () => this.add(key),
      // The delay was called off; whoever did that has put something in its place.
      () => {},
    );
  }

  /** Keys that could be worked on now but wait for a worker. */
  get depth(): number {
    return this.#ready.size;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  get delayedCount(): number {
    return this.#delayed.size;
  }

  /** Starts no more work, tells the running work to stop, and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    for (const key of this.#delayed.keys()) this.#forgetDelay(key);
    this.#ready.clear();
    await Promise.all(this.#running.values());
  }

  #start(): void {
    for (const key of this.#ready) {
      if (this.#running.size >= this.#options.concurrency) return;
      this.#ready.delete(key);
      this.#running.set(key, this.#work(key));
    }
  }

  async #work(key: string): Promise<void> {
    const outcome = await this.#options.work(key, this.#stop.signal);
    this.#running.delete(key);
    const delayMs = this.#delayAfter(key, outcome);
    if (this.#dirty.delete(key)) this.add(key);
    else if (delayMs !== undefined) this.addAfter(key, delayMs);
    this.#start();
  }

  /** When the key is to be looked at again by itself; undefined: not at all. */
  #delayAfter(key: string, outcome: Outcome): number | undefined {
    if (outcome.kind !== "failed") {
      this.#attempts.delete(key);
      return outcome.kind === "again" ? outcome.afterMs : undefined;
    }
    const { backoff = BACKOFF, random } = this.#options;
    const attempts = Math.min(ATTEMPTS_MAX, (this.#attempts.get(key) ?? 0) + 1);
    this.#attempts.set(key, attempts);
    return backoffDelayMs(backoff, attempts, random);
  }

  #forgetDelay(key: string): void {
    const delayed = this.#delayed.get(key);
    this.#delayed.delete(key);
    delayed?.stop.abort(abortReason(this.#stop.signal));
  }
}
