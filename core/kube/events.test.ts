// Goal: each thing worth telling is told once, its repetitions as a count, and the teller never
// waits nor floods the server. Method: the fake server counts what reaches it.

import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { EventRecorder } from "./events.ts";
import { FakeKube } from "./fake-kube.ts";
import type { KubeEvent } from "./kube-api.ts";

let clock: FakeClock;
let kube: FakeKube;
let recorder: EventRecorder;
let isDown: boolean;

beforeEach(() => {
  clock = new FakeClock();
  isDown = false;
  kube = new FakeKube({
    clock,
    random: new SeededRandom(1),
    onCall: () => {
      if (isDown) throw new WeirError("kube-unavailable", "planted");
    },
  });
  const log = pino({}, captureLogs());
  recorder = new EventRecorder({ api: kube, clock, random: new SeededRandom(2), log });
});

afterEach(async () => {
  await recorder[Symbol.asyncDispose]();
  expect(clock.timerCount).toBe(0);
});

function event(note: string, uid = "u"): KubeEvent {
  const regarding = { apiVersion: "weir.storage/v1alpha1", kind: "Volume", name: "v", uid };
  return { regarding, type: "Warning", reason: "Failed", note, action: "Reconcile" };
}

const told = (): unknown => kube.events.map(({ note, series }) => [note, series?.count]);

test("different events are told each, at once", async () => {
  recorder.record(event("one"));
  recorder.record(event("two"));
  recorder.record(event("one", "other"));
  await clock.advance(0);
  expect(told()).toEqual([
    ["one", 1],
    ["two", 1],
    ["one", 1],
  ]);
  expect(new Set(kube.events.map(({ series }) => series?.name)).size).toBe(3);
});

test("a thousand repetitions are two messages, the second with the count", async () => {
  for (let count = 0; count < 1000; count += 1) {
    recorder.record(event("again"));
    await clock.advance(10);
  }
  await clock.advance(60_000);
  expect(told()).toEqual([
    ["again", 1],
    ["again", 1000],
  ]);
  const names = new Set(kube.events.map(({ series }) => series?.name));
  expect(names.size).toBe(1);
});

test("after a long silence it is a new event", async () => {
  recorder.record(event("again"));
  await clock.advance(11 * 60_000);
  recorder.record(event("again"));
  await clock.advance(0);
  expect(told()).toEqual([
    ["again", 1],
    ["again", 1],
  ]);
  expect(new Set(kube.events.map(({ series }) => series?.name)).size).toBe(2);
});

test("a server that is away gets the event when it is back", async () => {
  isDown = true;
  recorder.record(event("late"));
  await clock.advance(30_000);
  expect(told()).toEqual([]);
  isDown = false;
  await clock.advance(60_000);
  expect(told()).toEqual([["late", 1]]);
});

test("a server that stays away costs the event, and one line in the log", async () => {
  expectLog(/an event was dropped/u);
  isDown = true;
  recorder.record(event("lost"));
  await clock.advance(20 * 60_000);
  isDown = false;
  await clock.advance(60_000);
  expect(told()).toEqual([]);
  expect(clock.timerCount).toBe(0);
});

test("a flood of different events does not grow without bound", async () => {
  for (let index = 0; index < 3000; index += 1) recorder.record(event(`note ${index}`));
  await clock.advance(0);
  // The oldest ones were forgotten before they were sent.
  expect(kube.events.length).toBeLessThanOrEqual(1000);
});
