// Goal: one operation per volume at a time; a caller hears ABORTED, and no code that would mean
// "certainly not running", as long as the work goes on. Method: work that ends when the test says
// so, on a fake clock.
import { pino } from "pino";
import { beforeEach, expect, test } from "vitest";

import { WeirError } from "../../core/runtime/errors.ts";
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { captureLogs, expectLog, loggedLines } from "../../test/support/log-capture.ts";
import { VolumeWork } from "./volume-work.ts";

let clock: FakeClock;
let ending: AbortController;
let work: VolumeWork;

beforeEach(() => {
  clock = new FakeClock();
  ending = new AbortController();
  work = new VolumeWork({ clock, log: pino({}, captureLogs()), ending: ending.signal });
});

const call = { signal: new AbortController().signal };
const named = (volumeId: string, what = "staged") => ({ volumeId, what, call });
const aborted = { code: "aborted" };

test("gives the work's result or fault, and is free again", async () => {
  expect(await work.run(named("data"), async () => 7)).toBe(7);
  const fault = new WeirError("in-use", "no");
  await expect(work.run(named("data"), () => Promise.reject(fault))).rejects.toBe(fault);
  expect(await work.run(named("data"), async () => 8)).toBe(8);
  expect(clock.timerCount).toBe(0);
});

test("a second operation is refused, of another volume not", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const first = work.run(named("data"), () => promise);
  await expect(work.run(named("data", "unstaged"), async () => 1)).rejects.toMatchObject({
    ...aborted,
    message: expect.stringContaining("being staged"),
  });
  expect(await work.run(named("other"), async () => 2)).toBe(2);
  resolve(3);
  expect(await first).toBe(3);
});

test("work that takes long goes on, and so does its lock", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const first = work.run(named("data"), () => promise);
  const refusal = first.catch((cause: unknown) => cause);
  await clock.advance(100_000);
  expect(await refusal).toMatchObject(aborted);
  await expect(work.run(named("data"), async () => 1)).rejects.toMatchObject(aborted);
  resolve(1);
  await clock.settle();
  expect(await work.run(named("data"), async () => 2)).toBe(2);
  expect(loggedLines().join()).toContain("the volume was staged after its caller had gone");
});

test("what fails after its caller has gone is logged", async () => {
  expectLog(/could not be staged: data/u);
  const { promise, reject } = Promise.withResolvers<number>();
  const first = work.run(named("data"), () => promise);
  const refusal = first.catch((cause: unknown) => cause);
  await clock.advance(100_000);
  expect(await refusal).toMatchObject(aborted);
  reject(new WeirError("store-unavailable", "no bucket"));
  await clock.settle();
});

test("a caller that goes away does not end the work", async () => {
  const caller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<number>();
  let seen: AbortSignal | undefined;
  const gone = { volumeId: "data", what: "staged", call: { signal: caller.signal } };
  const first = work.run(gone, (signal) => {
    seen = signal;
    return promise;
  });
  caller.abort();
  await expect(first).rejects.toMatchObject(aborted);
  expect(seen?.aborted).toBe(false);
  resolve(1);
  await clock.settle();
});

test("the end of the process ends the work", async () => {
  let seen: AbortSignal | undefined;
  const { promise, resolve } = Promise.withResolvers<number>();
  const first = work.run(named("data"), (signal) => {
    seen = signal;
    return promise;
  });
  ending.abort();
  expect(seen?.aborted).toBe(true);
  resolve(1);
  expect(await first).toBe(1);
});
