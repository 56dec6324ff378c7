// Goal: time on the fake clock moves only when told, in order, and leaves nothing behind.
// Method: sleeps and deadlines that write down when they end.

import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { WeirError } from "./errors.ts";
import { FakeClock } from "./fake-clock.ts";

test("sleeps end in order of time, then of start, each at its own time", async () => {
  const clock = new FakeClock();
  const seen: string[] = [];
  const note = async (name: string, ms: number): Promise<void> => {
    await clock.sleep(ms);
    seen.push(`${name}@${clock.monotonicMs()}`);
  };
  void note("late", 30);
  void note("first", 10);
  void note("second", 10);
  await clock.advance(9);
  expect(seen).toEqual([]);
  await clock.advance(100);
  expect(seen).toEqual(["first@10", "second@10", "late@30"]);
  expect(clock.monotonicMs()).toBe(109);
});

test("a sleep that a sleep leads to is part of the same advance", async () => {
  const clock = new FakeClock();
  let rounds = 0;
  const loop = async (): Promise<void> => {
    for (; rounds < 5; rounds += 1) await clock.sleep(10);
  };
  const end = loop();
  await clock.advance(50);
  await end;
  expect(rounds).toBe(5);
});

test("an abort ends a sleep with its reason and takes the timer away", async () => {
  const clock = new FakeClock();
  const controller = new AbortController();
  const sleep = clock.sleep(10, controller.signal);
  const reason = new WeirError("fenced", "the test ends it");
  controller.abort(reason);
  await expect(sleep).rejects.toBe(reason);
  await expect(clock.sleep(10, controller.signal)).rejects.toBe(reason);
  expect(clock.timerCount).toBe(0);
});

test("a deadline aborts at its time with a fault", async () => {
  const clock = new FakeClock();
  const signal = clock.deadline(20);
  await clock.advance(19);
  expect(signal.aborted).toBe(false);
  await clock.advance(1);
  expect(signal.reason).toMatchObject({ code: "deadline-exceeded", details: { deadlineMs: 20 } });
});

test("a deadline follows its parent, at once when that has aborted", async () => {
  const clock = new FakeClock();
  const parent = new AbortController();
  const signal = clock.deadline(20, parent.signal);
  const reason = new WeirError("fenced", "the test ends it");
  parent.abort(reason);
  expect(signal.reason).toBe(reason);
  expect(clock.deadline(20, parent.signal).reason).toBe(reason);
  expect(clock.timerCount).toBe(0);
});

test("a disposed deadline never aborts and holds nothing", async () => {
  const clock = new FakeClock();
  const parent = new AbortController();
  const signal = clock.deadline(20, parent.signal);
  signal[Symbol.dispose]();
  expect(clock.timerCount).toBe(0);
  parent.abort();
  await clock.advance(100);
  expect(signal.aborted).toBe(false);
});

test("the wall clock runs along and can jump alone", async () => {
  const clock = new FakeClock({ wallMs: 1000 });
  await clock.advance(5);
  clock.jumpWall(-500);
  expect(clock.wallMs()).toBe(505);
  expect(clock.monotonicMs()).toBe(5);
});

test("runUntil moves time to what the promise needs, and waits for real files", async () => {
  const clock = new FakeClock();
  const work = async (): Promise<number> => {
    await clock.sleep(1000);
    const file = await readFile(import.meta.filename);
    await clock.sleep(1000);
    return file.length;
  };
  expect(await clock.runUntil(work())).toBeGreaterThan(100);
  expect(clock.monotonicMs()).toBe(2000);
});

test("runUntil hands on a failure", async () => {
  const clock = new FakeClock();
  const fails = clock.sleep(5).then(() => {
    throw new Error("as planned");
  });
  await expect(clock.runUntil(fails)).rejects.toThrow("as planned");
});
