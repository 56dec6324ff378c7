// Goal: each planted fault does to the store, and says to the caller, exactly what it claims;
// without rules nothing changes. Method: the common contract suite, then each fault looked at from
// both sides.

import { describe, expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { type FaultRule, FaultyStore } from "./faulty-store.ts";
import { MemoryStore } from "./memory-store.ts";
import { describeStoreContract } from "./store-contract.ts";

const body = new Uint8Array([1, 2, 3, 4]);

function plant(...rules: FaultRule[]): {
  store: FaultyStore;
  inner: MemoryStore;
  clock: FakeClock;
} {
  const clock = new FakeClock();
  const inner = new MemoryStore({ clock });
  const store = new FaultyStore({ inner, clock, random: new SeededRandom(5), rules });
  return { store, inner, clock };
}

describeStoreContract("faulty, without rules", async () => plant().store);

const lost = { code: "store-unavailable" };
const ambiguous = { kind: "ambiguous", cause: expect.objectContaining(lost) };

describe("a planted fault", () => {
  test("fail-before does nothing and loses the answer", async () => {
    const { store, inner } = plant({ on: "any", fault: { kind: "fail-before" } });
    expect(await store.create("a", body)).toEqual(ambiguous);
    expect(inner.keys()).toEqual([]);
    await inner.create("b", body);
    await expect(store.delete("b")).rejects.toMatchObject(lost);
    await expect(store.get("b")).rejects.toMatchObject(lost);
    await expect(store.list("")).rejects.toMatchObject(lost);
    expect(inner.keys()).toEqual(["b"]);
  });

  test("lose-answer does the work and loses the answer", async () => {
    const { store, inner } = plant({ on: "any", fault: { kind: "lose-answer" } });
    expect(await store.create("a", body)).toEqual(ambiguous);
    expect(inner.keys()).toEqual(["a"]);
    await expect(store.delete("a")).rejects.toMatchObject(lost);
    expect(inner.keys()).toEqual([]);
  });

  test("apply-twice turns one's own success into `exists`", async () => {
    const { store, inner } = plant({ on: "create", fault: { kind: "apply-twice" } });
    expect(await store.create("a", body)).toEqual({ kind: "exists" });
    expect(inner.keys()).toEqual(["a"]);
    expect(store.journal.map((entry) => entry.effect)).toEqual(["created", "exists"]);
  });

  test("hold loses the answer, and the work happens when it is released", async () => {
    const { store, inner } = plant({ on: "create", times: 2, fault: { kind: "hold" } });
    const buffer = body.slice();
    expect(await store.create("a", buffer)).toEqual(ambiguous);
    expect(await store.create("b", buffer)).toEqual(ambiguous);
    buffer.fill(9);
    expect(inner.keys()).toEqual([]);
    expect(store.heldCount).toBe(2);
    expect(await store.create("b", new Uint8Array(1))).toEqual({ kind: "created" });
    await store.releaseHeld("a");
    expect(await inner.get("a")).toMatchObject({ bytes: body });
    expect(store.heldCount).toBe(1);
    await store.releaseHeld();
    expect(await inner.get("b")).toMatchObject({ objectBytes: 1 });
    expect(store.journal).toEqual([
      { call: 1, operation: "create", key: "a", fault: "hold", effect: "held" },
      { call: 2, operation: "create", key: "b", fault: "hold", effect: "held" },
      { call: 3, operation: "create", key: "b", effect: "created" },
      { call: 1, operation: "create", key: "a", fault: "hold", effect: "created" },
      { call: 2, operation: "create", key: "b", fault: "hold", effect: "exists" },
    ]);
  });

  test("conflict and refuse do nothing and say so", async () => {
    const { store, inner } = plant(
      { on: "create", nth: 1, fault: { kind: "conflict" } },
      { on: "any", fault: { kind: "refuse", code: "store-denied" } },
    );
    expect(await store.create("a", body)).toEqual({ kind: "conflict" });
    await expect(store.create("a", body)).rejects.toMatchObject({ code: "store-denied" });
    await expect(store.list("")).rejects.toMatchObject({ code: "store-denied" });
    expect(inner.keys()).toEqual([]);
  });

  test("truncate and alter damage what get returns, not what is stored", async () => {
    const { store, inner } = plant(
      { on: "get", nth: 1, fault: { kind: "truncate", keepBytes: 3 } },
      { on: "get", times: 1, fault: { kind: "alter", atByte: 6 } },
    );
    await inner.create("a", body);
    expect(await store.get("a")).toMatchObject({ bytes: body.slice(0, 3), objectBytes: 4 });
    expect(await store.get("a")).toMatchObject({ bytes: new Uint8Array([1, 2, 2, 4]) });
    expect(await store.get("a")).toMatchObject({ bytes: body });
  });

  test("delay waits before the work; an abort meanwhile prevents it", async () => {
    const { store, inner, clock } = plant({ on: "any", fault: { kind: "delay", ms: 100 } });
    const call = store.create("a", body);
    await clock.advance(99);
    expect(inner.keys()).toEqual([]);
    await clock.advance(1);
    expect(await call).toEqual({ kind: "created" });
    const given = store.create("b", body, { signal: clock.deadline(50) });
    const read = store.get("a", { signal: clock.deadline(50) });
    const failure = read.catch((error: unknown) => error);
    await clock.advance(200);
    expect(await given).toEqual(ambiguous);
    expect(await failure).toMatchObject(lost);
    expect(inner.keys()).toEqual(["a"]);
  });

  test("delay-answer waits after the work; an abort meanwhile loses the answer", async () => {
    const { store, inner, clock } = plant({
      on: "create",
      fault: { kind: "delay-answer", ms: 100 },
    });
    const given = store.create("a", body, { signal: clock.deadline(50) });
    await clock.advance(1);
    expect(inner.keys()).toEqual(["a"]);
    await clock.advance(50);
    expect(await given).toEqual(ambiguous);
  });
});

describe("rules", () => {
  test("choose by operation, key, number and count, the first that fires", async () => {
    const { store } = plant(
      { on: "create", key: "log/*/1", nth: 2, fault: { kind: "conflict" } },
      { on: "create", key: "log/*", times: 1, fault: { kind: "lose-answer" } },
    );
    const kinds: string[] = [];
    for (const key of ["log/1/1", "log/2/1", "log/3/1", "other"]) {
      kinds.push((await store.create(key, body)).kind);
    }
    expect(kinds).toEqual(["ambiguous", "conflict", "created", "created"]);
    store.clearRules();
    expect(await store.create("log/2/1", body)).toEqual({ kind: "created" });
  });

  test("with a probability fire as often as that, and repeat with the seed", async () => {
    const run = async (): Promise<string[]> => {
      const { store } = plant({ on: "any", probability: 0.3, fault: { kind: "fail-before" } });
      const effects: string[] = [];
      for (let call = 0; call < 300; call += 1) effects.push((await store.create("a", body)).kind);
      return effects;
    };
    const [first, second] = [await run(), await run()];
    expect(first).toEqual(second);
    const count = first.filter((kind) => kind === "ambiguous").length;
    expect(count).toBeGreaterThan(60);
    expect(count).toBeLessThan(120);
  });

  test("that make no sense are refused", () => {
    expect(() => plant({ on: "get", fault: { kind: "conflict" } })).toThrow("fits its operation");
    expect(() => plant({ on: "any", fault: { kind: "alter", atByte: 0 } })).toThrow("fits");
  });
});

test("counts are of calls and of the bytes that callers saw", async () => {
  const { store } = plant({ on: "create", fault: { kind: "apply-twice" } });
  await store.create("a", body);
  await store.get("a");
  expect(store.counts).toMatchObject({ creates: 1, gets: 1, sentBytes: 4, receivedBytes: 4 });
});
