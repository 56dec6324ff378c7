// Goal: the counts are what went over. Method: the common contract suite through it, then a short
// known sequence.

import { expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { CountingStore } from "./counting-store.ts";
import { MemoryStore } from "./memory-store.ts";
import { describeStoreContract } from "./store-contract.ts";

const openStore = (): CountingStore =>
  new CountingStore(new MemoryStore({ clock: new FakeClock() }));

describeStoreContract("counting", async () => openStore());

test("requests and bytes are counted, failures too", async () => {
  const store = openStore();
  await store.create("a", new Uint8Array(10));
  await store.create("a", new Uint8Array(20));
  await store.get("a", { range: { offset: 8, length: 100 } });
  await store.get("b");
  await expect(store.get("..")).rejects.toThrow("object key");
  await store.list("");
  await store.delete("a");
  expect(store.counts).toEqual({
    creates: 2,
    gets: 3,
    lists: 1,
    deletes: 1,
    sentBytes: 30,
    receivedBytes: 2,
  });
  expect(store.requestCount).toBe(7);
  store.reset();
  expect(store.requestCount).toBe(0);
});
