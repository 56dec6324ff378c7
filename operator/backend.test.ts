// Goal: the store is used only after it has passed the probe, what a probe found reaches whoever
// asks, and a mended store is found without a restart. Method: a store that fails as planted and a
// fake clock.

import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { captureLogs, expectLog } from "../test/support/log-capture.ts";
import { WeirError, type FaultCode } from "../core/runtime/errors.ts";
import { FakeClock } from "../core/runtime/fake-clock.ts";
import { SeededRandom } from "../core/runtime/seeded-random.ts";
import { FaultyStore } from "../core/store/faulty-store.ts";
import { MemoryStore } from "../core/store/memory-store.ts";
import { Backend } from "./backend.ts";

const clock = new FakeClock();
const random = new SeededRandom(1);
const log = pino({}, captureLogs());

afterEach(() => {
  expect(clock.timerCount).toBe(0);
});

function open() {
  const inner = new MemoryStore({ clock });
  const store = new FaultyStore({ inner, clock, random });
  const backend = new Backend({ store, clock, random, log });
  const told: (FaultCode | undefined)[] = [];
  backend.onChange(() => told.push(backend.fault?.code));
  return { inner, store, backend, told };
}

const { signal } = new AbortController();

test("before the probe it may not be used, afterwards it may, and nothing is left", async () => {
  const { inner, backend, told } = open();
  const early = clock.runUntil(backend.check(signal));
  await expect(early).rejects.toMatchObject({ code: "store-unavailable" });
  await clock.runUntil(backend.run(signal));
  await backend.check(signal);
  expect(told).toEqual([undefined]);
  expect(inner.keys()).toEqual([]);
});

test("who asks before the first answer waits for it", async () => {
  const { backend } = open();
  const asking = backend.check(signal);
  await clock.runUntil(backend.run(signal));
  await expect(asking).resolves.toBeUndefined();
});

test("it is asked again until it passes, at most a minute apart", async () => {
  expectLog(/may not be used/u);
  const { store, backend, told } = open();
  const fault = { kind: "refuse", code: "store-denied" } as const;
  store.addRule({ on: "any", times: 60, fault });
  await clock.runUntil(backend.run(new AbortController().signal));
  expect(backend.fault).toBeUndefined();
  expect(told).toEqual(["store-denied", undefined]);
});

test("what ends it ends the waiting, and the answer stays", async () => {
  expectLog(/may not be used/u);
  const { store, backend } = open();
  store.addRule({ on: "any", fault: { kind: "refuse", code: "backend-unsafe" } });
  const stop = new AbortController();
  const running = backend.run(stop.signal);
  await clock.advance(10_000);
  stop.abort(new WeirError("aborted", "the test ends it"));
  await running;
  expect(backend.fault?.code).toBe("backend-unsafe");
});

test("a probe that breaks is an outage, not an answer", async () => {
  expectLog(/may not be used/u);
  const { store, backend } = open();
  store.addRule({ on: "any", fault: { kind: "refuse", code: "internal" } });
  const stop = new AbortController();
  const running = backend.run(stop.signal);
  await clock.advance(100);
  stop.abort();
  await running;
  expect(backend.fault?.code).toBe("store-unavailable");
});
