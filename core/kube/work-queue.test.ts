// Goal: no wanted work is lost or done twice at once, and failures come back ever later. Method:
// the fake clock, and work that the test itself ends.

import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { WorkQueue } from "./work-queue.ts";
import type { Outcome } from "./work-queue.ts";

interface Run {
  readonly key: string;
  readonly atMs: number;
  readonly signal: AbortSignal;
  readonly end: (outcome: Outcome) => void;
}

let clock: FakeClock;
let queue: WorkQueue;
let runs: Run[];

beforeEach(() => {
  clock = new FakeClock();
  runs = [];
  queue = new WorkQueue({
    clock,
    random: new SeededRandom(1),
    concurrency: 2,
    backoff: { firstDelayMs: 10, maxDelayMs: 1000 },
    work: (key, signal) => {
      const { promise, resolve } = Promise.withResolvers<Outcome>();
      runs.push({ key, atMs: clock.monotonicMs(), signal, end: resolve });
      return promise;
    },
  });
});

afterEach(async () => {
  const closed = queue[Symbol.asyncDispose]();
  for (const run of runs) run.end({ kind: "done" });
  await closed;
  expect(clock.timerCount).toBe(0);
});

async function end(index: number, outcome: Outcome): Promise<void> {
  runs[index]?.end(outcome);
  await clock.settle();
}

const keys = (): readonly string[] => runs.map((run) => run.key);

test("keys run in order, two at a time, each once however often it was added", async () => {
  for (const key of ["a", "b", "c", "c", "d", "c"]) queue.add(key);
  expect(keys()).toEqual(["a", "b"]);
  expect(queue.depth).toBe(2);
  await end(0, { kind: "done" });
  expect(keys()).toEqual(["a", "b", "c"]);
  await end(1, { kind: "done" });
  await end(2, { kind: "done" });
  await end(3, { kind: "done" });
  expect(keys()).toEqual(["a", "b", "c", "d"]);
});

test("a key that is added during its work runs again after it, never beside it", async () => {
  queue.add("a");
  queue.add("a");
  queue.add("a");
  expect(keys()).toEqual(["a"]);
  await end(0, { kind: "done" });
  expect(keys()).toEqual(["a", "a"]);
  await end(1, { kind: "done" });
  expect(keys()).toEqual(["a", "a"]);
});

test("failures come back again and again; a success forgets them", async () => {
  queue.add("a");
  for (let count = 0; count < 12; count += 1) {
    await end(count, { kind: "failed" });
    expect(queue.delayedCount).toBe(1);
    await clock.advance(1000);
  }
  const delays = runs.slice(1).map((run, index) => run.atMs - (runs[index]?.atMs ?? 0));
  expect(delays).toHaveLength(12);
  const [first = 0] = delays;
  expect(first).toBeLessThanOrEqual(1000);
  await end(12, { kind: "done" });
  queue.add("a");
  await end(13, { kind: "failed" });
  await clock.advance(10);
  expect(runs).toHaveLength(15);
});

test("the limit of the delay holds, and half of it is never undercut", async () => {
  queue.add("a");
  for (let count = 0; count < 10; count += 1) {
    await end(count, { kind: "failed" });
    await clock.advance(1000);
  }
  for (let count = 10; count < 20; count += 1) {
    await end(count, { kind: "failed" });
    await clock.advance(499);
    expect(runs).toHaveLength(count + 1);
    await clock.advance(501);
    expect(runs).toHaveLength(count + 2);
  }
});

test("an add cuts a delay short", async () => {
  queue.add("a");
  await end(0, { kind: "again", afterMs: 60_000 });
  queue.add("a");
  expect(runs).toHaveLength(2);
  await end(1, { kind: "done" });
  await clock.advance(120_000);
  expect(runs).toHaveLength(2);
});

test("of two delays the earlier one holds", async () => {
  queue.addAfter("a", 1000);
  queue.addAfter("a", 10);
  queue.addAfter("a", 500);
  await clock.advance(10);
  expect(keys()).toEqual(["a"]);
  await end(0, { kind: "done" });
  await clock.advance(2000);
  expect(keys()).toEqual(["a"]);
});

test("a key added during work that fails runs again at once, but its failure counts", async () => {
  queue.add("a");
  queue.add("a");
  await end(0, { kind: "failed" });
  expect(runs).toHaveLength(2);
  await end(1, { kind: "failed" });
  // The second failure's delay is 10 to 20 ms, the first's would be at most 10.
  await clock.advance(9);
  expect(runs).toHaveLength(2);
  await clock.advance(11);
  expect(runs).toHaveLength(3);
});

test("closing tells the running work, waits for it, and starts nothing more", async () => {
  for (const key of ["a", "b", "c"]) queue.add(key);
  queue.addAfter("d", 10);
  let isClosed = false;
  const closed = queue[Symbol.asyncDispose]().then(() => {
    isClosed = true;
  });
  expect(runs[0]?.signal.aborted).toBe(true);
  await end(0, { kind: "failed" });
  expect(isClosed).toBe(false);
  await end(1, { kind: "done" });
  await closed;
  queue.add("e");
  await clock.advance(1000);
  expect(keys()).toEqual(["a", "b"]);
});
