// Goal: only faults that may pass are tried again, with growing waits, and never beyond the
// deadline or an abort. Method: scripted attempts on the fake clock.

import { expect, test } from "vitest";
import { WeirError } from "./errors.ts";
import { FakeClock } from "./fake-clock.ts";
import { backoffDelayMs, retry } from "./retry.ts";
import { SeededRandom } from "./seeded-random.ts";

const passing = new WeirError("store-unavailable", "down for a moment");
const lasting = new WeirError("store-missing", "gone for good");
const backoff = { firstDelayMs: 100, maxDelayMs: 1000 };
const random = new SeededRandom(1);

/** Fails with each of these in turn, then succeeds with the number of attempts. */
function script(faults: readonly Error[]): { attempt: () => Promise<number>; count: () => number } {
  let count = 0;
  return {
    count: () => count,
    attempt: async () => {
      const fault = faults[count];
      count += 1;
      if (fault !== undefined) throw fault;
      return count;
    },
  };
}

test("what may pass is tried until it succeeds", async () => {
  const clock = new FakeClock();
  const { attempt } = script([passing, passing, passing]);
  const retries: number[] = [];
  const result = retry(attempt, {
    clock,
    random,
    backoff,
    deadlineMs: 60_000,
    onRetry: ({ fault, attempt, delayMs }) => {
      expect(fault).toBe(passing);
      expect(delayMs).toBeGreaterThan(0);
      retries.push(attempt);
    },
  });
  expect(await clock.runUntil(result)).toBe(4);
  expect(retries).toEqual([1, 2, 3]);
  expect(clock.timerCount).toBe(0);
});

test.each([lasting, new Error("a bug")])("%s is thrown at once", async (fault) => {
  const { attempt, count } = script([fault]);
  const options = { clock: new FakeClock(), random, backoff, deadlineMs: 1000 };
  await expect(retry(attempt, options)).rejects.toBe(fault);
  expect(count()).toBe(1);
});

test("the last fault is thrown when the deadline is over", async () => {
  const clock = new FakeClock();
  const { attempt } = script(Array.from({ length: 1000 }, () => passing));
  const result = retry(attempt, { clock, random, backoff, deadlineMs: 5000 });
  await expect(clock.runUntil(result)).rejects.toBe(passing);
  expect(clock.monotonicMs()).toBe(5000);
});

test("an attempt that never answers ends with the deadline", async () => {
  const clock = new FakeClock();
  const attempt = (signal: AbortSignal): Promise<void> => clock.sleep(1e9, signal);
  const result = retry(attempt, { clock, random, backoff, deadlineMs: 5000 });
  await expect(clock.runUntil(result)).rejects.toMatchObject({ code: "deadline-exceeded" });
  expect(clock.monotonicMs()).toBe(5000);
});

test.each([60_000, Infinity])(
  "an abort ends the wait at once (deadline %d)",
  async (deadlineMs) => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const { attempt, count } = script(Array.from({ length: 1000 }, () => passing));
    const { signal } = controller;
    const result = retry(attempt, { clock, random, backoff, deadlineMs, signal });
    const reason = new WeirError("fenced", "the test ends it");
    const failure = result.catch((error: unknown) => error);
    await clock.advance(500);
    controller.abort(reason);
    expect(await failure).toBe(reason);
    expect(count()).toBeGreaterThan(2);
    expect(clock.timerCount).toBe(0);
  },
);

test("without a deadline it goes on for ever", async () => {
  const clock = new FakeClock();
  const { attempt } = script(Array.from({ length: 500 }, () => passing));
  const result = retry(attempt, { clock, random, backoff, deadlineMs: Infinity });
  expect(await clock.runUntil(result)).toBe(501);
});

test("waits double up to their bound, between half and all of it", () => {
  for (let attempt = 1; attempt < 2000; attempt += 1) {
    const fullMs = Math.min(1000, 100 * 2 ** (attempt - 1));
    const delayMs = backoffDelayMs(backoff, attempt, random);
    expect(delayMs).toBeGreaterThanOrEqual(fullMs / 2);
    expect(delayMs).toBeLessThanOrEqual(fullMs);
  }
});
