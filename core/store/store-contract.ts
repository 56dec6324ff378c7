// The promise of the ObjectStore port as one test suite, run against every store. Method: small
// cases through the port alone, so a store passes only by behaviour; races start eight calls at
// once.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WeirError } from "../runtime/errors.ts";
import type { ListedObject, ObjectStore } from "./object-store.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Bytes that differ everywhere, so that a shifted range shows. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + (index >>> 8) + seed) & 0xff);
}

export function describeStoreContract(name: string, open: () => Promise<ObjectStore>): void {
  describe(`the promise of an object store: ${name}`, () => {
    let store: ObjectStore;
    beforeAll(async () => {
      store = await open();
    });
    afterAll(async () => {
      await store[Symbol.asyncDispose]();
    });
    describeCreate(() => store);
    describeGet(() => store);
    describeList(() => store);
    describeRest(() => store);
  });
}

function describeCreate(store: () => ObjectStore): void {
  test("a created object is read back whole", async () => {
    expect(await store().create("create/new", text("one"))).toEqual({ kind: "created" });
    expect(await read(store(), "create/new")).toEqual(text("one"));
  });

  test("a second create leaves the first body", async () => {
    await store().create("create/twice", text("first"));
    expect(await store().create("create/twice", text("other"))).toEqual({ kind: "exists" });
    expect(await read(store(), "create/twice")).toEqual(text("first"));
  });

  test("an empty object is an object", async () => {
    expect(await store().create("create/empty", new Uint8Array(0))).toEqual({ kind: "created" });
    expect(await read(store(), "create/empty")).toEqual(new Uint8Array(0));
    expect(await store().create("create/empty", text("full"))).toEqual({ kind: "exists" });
  });

  test("eight racing creates have one winner, and the body is the winner's", async () => {
    for (let round = 0; round < 5; round += 1) {
      const key = `create/race-${round}`;
      const bodies = Array.from({ length: 8 }, (_, racer) => pattern(20_000, racer));
      const outcomes = await Promise.all(bodies.map((body) => store().create(key, body)));
      const winners = outcomes.flatMap((outcome, racer) =>
        outcome.kind === "created" ? [racer] : [],
      );
      expect(winners).toHaveLength(1);
      expect(await read(store(), key)).toEqual(bodies[winners[0] ?? -1]);
    }
  });

  test("the caller's buffer may change afterwards", async () => {
    const body = text("before");
    await store().create("create/copied", body);
    body.fill(0);
    expect(await read(store(), "create/copied")).toEqual(text("before"));
  });

  test("a view into a larger buffer is stored without its surroundings", async () => {
    const body = pattern(1000, 0).subarray(100, 200);
    await store().create("create/view", body);
    expect(await read(store(), "create/view")).toEqual(body);
  });

  test("nine mebibytes make one object", async () => {
    const body = pattern(9 * 2 ** 20, 3);
    expect(await store().create("create/large", body)).toEqual({ kind: "created" });
    const back = await read(store(), "create/large");
    expect(Buffer.compare(back, body)).toBe(0);
  });
}

function describeGet(store: () => ObjectStore): void {
  test("an absent object is absent, also below an object and above one", async () => {
    await store().create("get/there/object", text("x"));
    expect(await store().get("get/nowhere")).toEqual({ kind: "absent" });
    expect(await store().get("get/there")).toEqual({ kind: "absent" });
    expect(await store().get("get/nowhere", { range: { offset: 5, length: 1 } })).toEqual({
      kind: "absent",
    });
  });

  test("ranges are exact", async () => {
    const body = pattern(70_000, 1);
    await store().create("get/ranges", body);
    const ranges = [
      [0, 1],
      [0, 70_000],
      [69_999, 1],
      [4096, 32],
      [65_535, 2],
    ] as const;
    for (const [offset, length] of ranges) {
      const found = await store().get("get/ranges", { range: { offset, length } });
      const bytes = body.slice(offset, offset + length);
      expect(found).toEqual({ kind: "found", bytes, objectBytes: 70_000 });
    }
  });

  test("a range that reaches over the end is cut, one behind the end is empty", async () => {
    const body = pattern(100, 2);
    await store().create("get/end", body);
    expect(await store().get("get/end", { range: { offset: 90, length: 50 } })).toEqual({
      kind: "found",
      bytes: body.slice(90),
      objectBytes: 100,
    });
    for (const offset of [100, 5000]) {
      expect(await store().get("get/end", { range: { offset, length: 10 } })).toEqual({
        kind: "found",
        bytes: new Uint8Array(0),
        objectBytes: 100,
      });
    }
  });

  test("a range of an empty object is empty", async () => {
    await store().create("get/empty", new Uint8Array(0));
    expect(await store().get("get/empty", { range: { offset: 0, length: 10 } })).toEqual({
      kind: "found",
      bytes: new Uint8Array(0),
      objectBytes: 0,
    });
  });
}

/** In order of their bytes: `-` and `.` come before `/`, digits and letters behind it. */
const LISTED_KEYS = [
  "list/a",
  "list/b-1/x",
  "list/b.1",
  "list/b/1",
  "list/b/2",
  "list/b/2-2",
  "list/b/2/3",
  "list/b0",
  "list/b_",
  "list/c/1",
].filter((key) => key !== "list/b/2");

function describeList(store: () => ObjectStore): void {
  beforeAll(async () => {
    for (const key of LISTED_KEYS.toReversed()) await store().create(key, text(key));
  });

  test("objects come in byte order of their keys, with their sizes", async () => {
    const { objects, next } = await store().list("list/");
    expect(objects.map((object) => object.key)).toEqual(LISTED_KEYS);
    expect(objects.map((object) => object.sizeBytes)).toEqual(LISTED_KEYS.map((key) => key.length));
    expect(objects.every((object) => object.modifiedAtMs > 0)).toBe(true);
    expect(next).toBeUndefined();
  });

  test("a prefix may end anywhere in a key", async () => {
    const prefixes = ["list/b", "list/b/", "list/b/2", "list/b/2/3", "list/nothing", "list/b."];
    for (const prefix of prefixes) {
      const { objects } = await store().list(prefix);
      const expected = LISTED_KEYS.filter((key) => key.startsWith(prefix));
      expect(objects.map((object) => object.key)).toEqual(expected);
    }
  });

  test("`after` may be any string, there or not, before, in or behind the prefix", async () => {
    const afters = [
      "list/b/1",
      "list/b/1zzz",
      "list/b/",
      "list/b.",
      "a",
      "zzz",
      "list/b0",
      "list/",
    ];
    for (const after of afters) {
      const { objects } = await store().list("list/", { after });
      const expected = LISTED_KEYS.filter((key) => key > after);
      expect(objects.map((object) => object.key)).toEqual(expected);
    }
  });

  test("pages of any size give every object once", async () => {
    for (const limit of [1, 2, 4, LISTED_KEYS.length, 1000]) {
      const pages = await listAll(store(), "list/", limit);
      expect(pages.flat().map((object) => object.key)).toEqual(LISTED_KEYS);
      expect(pages).toHaveLength(Math.ceil(LISTED_KEYS.length / limit));
    }
  });

  test("an object is listed as soon as it is created, and no longer once deleted", async () => {
    await store().create("fresh/one", text("1"));
    expect((await store().list("fresh/")).objects).toHaveLength(1);
    await store().delete("fresh/one");
    expect(await store().list("fresh/")).toEqual({ objects: [] });
  });
}

function describeRest(store: () => ObjectStore): void {
  test("a deleted object is absent, may be deleted again and created again", async () => {
    await store().create("delete/folder/one", text("1"));
    await store().delete("delete/folder/one");
    await store().delete("delete/folder/one");
    expect(await store().get("delete/folder/one")).toEqual({ kind: "absent" });
    expect(await store().create("delete/folder/one", text("2"))).toEqual({ kind: "created" });
    expect(await read(store(), "delete/folder/one")).toEqual(text("2"));
  });

  test("keys that are none are refused by every call", async () => {
    const strange = ["/a", "a//b", "../a", "a/../b", "a/./b", "A", "a b", "a\n", ".a", "ä"];
    for (const key of [...strange, "a".repeat(513)]) {
      const refused = { code: "invalid-argument" };
      await expect(store().create(key, text("x"))).rejects.toMatchObject(refused);
      await expect(store().get(key)).rejects.toMatchObject(refused);
      await expect(store().delete(key)).rejects.toMatchObject(refused);
      await expect(store().list(key)).rejects.toMatchObject(refused);
    }
    for (const prefix of ["", "a/"]) {
      await expect(store().create(prefix, text("x"))).rejects.toThrow(WeirError);
      await expect(store().get(prefix)).rejects.toThrow(WeirError);
      await expect(store().delete(prefix)).rejects.toThrow(WeirError);
    }
  });

  test("limits and ranges that are none are refused", async () => {
    for (const limit of [0, -1, 1001, 1.5, Number.NaN]) {
      await expect(store().list("list/", { limit })).rejects.toThrow(WeirError);
    }
    for (const [offset, length] of [
      [-1, 1],
      [0, 0],
      [0, -1],
      [0.5, 1],
      [Number.MAX_VALUE, 1],
    ]) {
      const range = { offset: offset ?? 0, length: length ?? 0 };
      await expect(store().get("get/ranges", { range })).rejects.toThrow(WeirError);
    }
  });

  test("an aborted signal stops a call with its reason, and nothing is created", async () => {
    const reason = new WeirError("fenced", "the test gave up");
    const signal = AbortSignal.abort(reason);
    await expect(store().create("abort/one", text("x"), { signal })).rejects.toBe(reason);
    await expect(store().get("abort/one", { signal })).rejects.toBe(reason);
    await expect(store().list("abort/", { signal })).rejects.toBe(reason);
    await expect(store().delete("abort/one", { signal })).rejects.toBe(reason);
    expect(await store().get("abort/one")).toEqual({ kind: "absent" });
  });
}

async function read(store: ObjectStore, key: string): Promise<Uint8Array> {
  const outcome = await store.get(key);
  if (outcome.kind === "absent") throw new Error(`${key} is absent`);
  expect(outcome.objectBytes).toBe(outcome.bytes.length);
  return outcome.bytes;
}

async function listAll(
  store: ObjectStore,
  prefix: string,
  limit: number,
): Promise<(readonly ListedObject[])[]> {
  const pages: (readonly ListedObject[])[] = [];
  let after: string | undefined = "";
  while (after !== undefined) {
    const page = await store.list(prefix, { after, limit });
    pages.push(page.objects);
    after = page.next;
  }
  return pages;
}
