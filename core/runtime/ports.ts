// The ports every part takes instead of reaching for the machine: time and chance.
// `Date`, timers and random sources exist only in this folder (real-ports.ts).

/** An AbortSignal that can be let go before its time: `using signal = clock.deadline(...)`. */
export type DeadlineSignal = AbortSignal & Disposable;

export interface Clock {
  /** Milliseconds since 1970, wall clock: for records that people read, never for a decision. */
  wallMs(): number;
  /** Milliseconds, monotonic: for deadlines and ages. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /**
   * A signal that aborts with a `deadline-exceeded` WeirError after `ms`, or with `parent`.
   * Disposing it frees the timer and the parent's listener at once; it never aborts after that.
   */
  deadline(ms: number, parent?: AbortSignal): DeadlineSignal;
}

export interface Random {
  /** 32 lower-case hex digits: 16 random bytes. */
  hex32(): string;
  /** Uniform in [0, 1): for jitter. */
  fraction(): number;
}
