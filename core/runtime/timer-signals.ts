// Sleeping and deadlines, once for every clock: a clock only says how a timer is started and
// stopped.

import { WeirError } from "./errors.ts";
import type { DeadlineSignal } from "./ports.ts";

/** Calls back once after `ms`; the returned function stops it. */
export type StartTimer = (ms: number, fire: () => void) => () => void;

export function sleepOn(startTimer: StartTimer, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortReason(signal));
      return;
    }
    const onAbort = (): void => {
      stop();
      if (signal !== undefined) reject(abortReason(signal));
    };
    const stop = startTimer(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

export function deadlineOn(
  startTimer: StartTimer,
  ms: number,
  parent?: AbortSignal,
): DeadlineSignal {
  const controller = new AbortController();
  const letGo = (): void => {
    stop();
    parent?.removeEventListener("abort", onParentAbort);
  };
  const stop = startTimer(ms, () => {
    letGo();
    controller.abort(
      new WeirError("deadline-exceeded", "the time allowed for this operation is over", {
        details: { deadlineMs: ms },
      }),
    );
  });
  const onParentAbort = (): void => {
    letGo();
    controller.abort(parent?.reason);
  };
  if (parent?.aborted === true) onParentAbort();
  else parent?.addEventListener("abort", onParentAbort, { once: true });
  return Object.assign(controller.signal, { [Symbol.dispose]: letGo });
}

/**
 * What to throw for an aborted signal: its reason when that is a fault, else an `aborted` fault.
 */
export function abortReason(signal: AbortSignal): WeirError {
  const reason: unknown = signal.reason;
  if (reason instanceof WeirError) return reason;
  return new WeirError("aborted", "the operation was given up by its caller", { cause: reason });
}

/** Resolves when the signal aborts, at once when it has. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Throws when the signal has aborted. */
export function checkAbort(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortReason(signal);
}

/**
 * The promise's result, or the signal's reason as soon as it aborts: for work that cannot be
 * stopped itself, such as a file operation on a hung disk. The work goes on; its later failure is
 * dropped.
 */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(abortReason(signal));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
