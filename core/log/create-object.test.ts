// Goal: whoever creates an object learns the truth about it, whatever the answer was. Method: every
// kind of answer, applied or not, then what the read back finds; the requests are compared.

import { expect, test } from "vitest";

import { WeirError } from "../runtime/errors.ts";
import type { CreateOutcome } from "../store/object-store.ts";
import type { OwnedOutcome } from "./create-object.ts";
import { createOwned } from "./create-object.ts";
import { memoryContext } from "../../test/support/log/memory-context.ts";
import { ScriptedStore } from "../../test/support/log/scripted-store.ts";

const KEY = "k";
const OURS = Buffer.from("ours: nonce 1");
const THEIRS = Buffer.from("theirs: nonce 2");
const ambiguous: CreateOutcome = { kind: "ambiguous", cause: new Error("reset") };

function setUp() {
  const memory = memoryContext();
  const store = new ScriptedStore(memory.bucket);
  const context = { ...memory, store };
  const create = (more: { readBackBytes?: number; patienceMs?: number } = {}) =>
    memory.clock.runUntil(createOwned({ ...context, key: KEY, bytes: OURS, ...more }));
  const stored = async (): Promise<string | undefined> => {
    const found = await memory.bucket.get(KEY);
    return found.kind === "found" ? Buffer.from(found.bytes).toString() : undefined;
  };
  return { store, create, stored, bucket: memory.bucket, clock: memory.clock };
}

test("a clear answer costs one request", async () => {
  const { store, create, stored } = setUp();
  expect(await create()).toEqual({ kind: "created" });
  expect(store.calls).toEqual(["PUT k"]);
  expect(await stored()).toBe(OURS.toString());
});

test("a lost answer to an applied request is success after one read", async () => {
  for (const answer of [ambiguous, { kind: "exists" } as const]) {
    const { store, create } = setUp();
    store.creates.push(async (apply) => {
      await apply();
      return answer;
    });
    expect(await create()).toEqual({ kind: "created" });
    expect(store.calls).toEqual(["PUT k", "GET k"]);
  }
});

test("a request that was never applied is sent again with the same bytes", async () => {
  const { store, create, stored } = setUp();
  store.creates.push(async () => ambiguous);
  expect(await create()).toEqual({ kind: "created" });
  expect(store.calls).toEqual(["PUT k", "GET k", "PUT k"]);
  expect(await stored()).toBe(OURS.toString());
});

test("a request that is applied after it was read back changes nothing", async () => {
  const { store, create, stored } = setUp();
  let applyLate: (() => Promise<CreateOutcome>) | undefined;
  store.creates.push(async (apply) => {
    applyLate = apply;
    return ambiguous;
  });
  // The late request lands between the read back and the second try.
  store.creates.push(async (apply) => {
    await applyLate?.();
    return apply();
  });
  expect(await create()).toEqual({ kind: "created" });
  expect(store.calls).toEqual(["PUT k", "GET k", "PUT k", "GET k"]);
  expect(await stored()).toBe(OURS.toString());
});

test("a conflict is tried again without a read", async () => {
  const { store, create } = setUp();
  store.creates.push(async () => ({ kind: "conflict" }));
  expect(await create()).toEqual({ kind: "created" });
  expect(store.calls).toEqual(["PUT k", "PUT k"]);
});

test("somebody else's object is foreign, with what was asked of it", async () => {
  const { create, bucket, stored } = setUp();
  await bucket.create(KEY, THEIRS);
  const whole = await create();
  const start = await create({ readBackBytes: 6 });
  const text = (outcome: OwnedOutcome): string =>
    outcome.kind === "foreign" ? Buffer.from(outcome.bytes).toString() : outcome.kind;
  expect([text(whole), text(start)]).toEqual([THEIRS.toString(), "theirs"]);
  expect(await stored()).toBe(THEIRS.toString());
});

test("an object that lost its end is corrupt, not ours", async () => {
  const { create, bucket } = setUp();
  await bucket.create(KEY, OURS.subarray(0, 8));
  await expect(create({ readBackBytes: 8 })).rejects.toMatchObject({ code: "object-corrupt" });
});

test("a store that never answers ends in a fault that says so, after the patience", async () => {
  const { store, create, clock } = setUp();
  for (let tries = 0; tries < 1000; tries += 1) store.creates.push(async () => ambiguous);
  await expect(create({ patienceMs: 10_000 })).rejects.toMatchObject({ code: "store-unavailable" });
  expect(clock.monotonicMs()).toBe(10_000);
  expect(clock.timerCount).toBe(0);
});

test("a fault that is not about reachability comes through at once", async () => {
  const { store, create } = setUp();
  store.creates.push(async () => {
    throw new WeirError("store-denied", "planted");
  });
  await expect(create()).rejects.toMatchObject({ code: "store-denied" });
  expect(store.calls).toEqual(["PUT k"]);
});
