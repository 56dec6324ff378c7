// Goal: the real ports do what the fake ones promise. Method: zero-length waits and forms; no
// timing is asserted.

import { expect, test } from "vitest";
import { WeirError } from "./errors.ts";
import { realClock, realRandom } from "./real-ports.ts";

test("the clocks move forward and sleeping takes time", async () => {
  const before = realClock.monotonicMs();
  await realClock.sleep(2);
  expect(realClock.monotonicMs()).toBeGreaterThan(before);
  expect(realClock.wallMs()).toBeGreaterThan(Date.UTC(2024, 0, 1));
});

test("a sleep ends with its signal", async () => {
  const controller = new AbortController();
  const sleep = realClock.sleep(3_600_000, controller.signal);
  controller.abort("any reason");
  await expect(sleep).rejects.toMatchObject({ code: "aborted", cause: "any reason" });
});

test("a deadline aborts, and a disposed one does not", async () => {
  const disposed = realClock.deadline(0);
  disposed[Symbol.dispose]();
  const signal = realClock.deadline(0);
  const reason = await new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(signal.reason));
    // Keeps the process alive: a deadline alone does not.
    void realClock.sleep(1000);
  });
  expect(reason).toBeInstanceOf(WeirError);
  expect(disposed.aborted).toBe(false);
});

test("a wait beyond the longest timer is not cut to nothing", async () => {
  const signal = realClock.deadline(2 ** 40);
  await realClock.sleep(5);
  expect(signal.aborted).toBe(false);
  signal[Symbol.dispose]();
});

test("random values have their form and do not repeat", () => {
  const values = Array.from({ length: 100 }, () => realRandom.hex32());
  expect(values.every((value) => /^[0-9a-f]{32}$/u.test(value))).toBe(true);
  expect(new Set(values).size).toBe(100);
  expect(realRandom.fraction()).toBeLessThan(1);
});
