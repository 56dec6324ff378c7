// Tries again what failed for a reason that may pass: exponential delays with jitter, one deadline
// over all attempts. The only retry loop; what is worth retrying is a property of the fault
// (errors.ts).

import { FAULTS, WeirError } from "./errors.ts";
import type { Clock, Random } from "./ports.ts";
import { checkAbort } from "./timer-signals.ts";

export interface Backoff {
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
}

export interface RetryOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly backoff: Backoff;
  /** From the first attempt to the end of the last; Infinity for work that never gives up. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  /** Told of each failure that is tried again: for a log line or a condition. */
  readonly onRetry?: (failure: { fault: WeirError; attempt: number; delayMs: number }) => void;
}

/**
 * Gives the first success. Throws what is not worth retrying at once, the signal's reason when it
 * aborts, and the last attempt's fault when the deadline is over.
 */
export async function retry<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { clock, random, backoff, signal: parent } = options;
  using signal = deadlineOf(options);
  let lastFault: WeirError | undefined;
  for (let count = 1; ; count += 1) {
    try {
      return await attempt(signal);
    } catch (error) {
      checkAbort(parent);
      if (signal.aborted) throw lastFault ?? error;
      if (!isRetryable(error)) throw error;
      lastFault = error;
    }
    const delayMs = backoffDelayMs(backoff, count, random);
    options.onRetry?.({ fault: lastFault, attempt: count, delayMs });
    try {
      await clock.sleep(delayMs, signal);
    } catch {
      checkAbort(parent);
      throw lastFault;
    }
  }
}

/** The wait after the `attempt`-th failure (1, 2, ...): half of it fixed, half of it chance. */
export function backoffDelayMs(backoff: Backoff, attempt: number, random: Random): number {
  const fullMs = Math.min(backoff.maxDelayMs, backoff.firstDelayMs * 2 ** (attempt - 1));
  return fullMs * (0.5 + random.fraction() / 2);
}

function isRetryable(error: unknown): error is WeirError {
  return error instanceof WeirError && FAULTS[error.code].retryable;
}

function deadlineOf(options: RetryOptions): AbortSignal & Disposable {
  const { clock, deadlineMs, signal } = options;
  if (Number.isFinite(deadlineMs)) return clock.deadline(deadlineMs, signal);
  const never = signal ?? new AbortController().signal;
  return Object.assign(AbortSignal.any([never]), { [Symbol.dispose]: () => {} });
}
