// Goal: a scan that is shared shows everyone what was there when they asked, and costs one scan for
// all who ask meanwhile. Method: volumes in a counted store in memory; who asks in the middle of a
// scan is found by holding the store's first listing.
import { expect, test } from "vitest";
import { memoryContext } from "../../test/support/log/memory-context.ts";
import { WeirError } from "../runtime/errors.ts";
import type { ListPage } from "../store/object-store.ts";
import { SharedScans } from "./shared-scans.ts";
import { createVolume, deleteVolume } from "./volumes.ts";

const MIB = 2 ** 20;

/** Lets listings through only when `open` was called, and says when one waits. */
function heldContext() {
  const context = memoryContext();
  const waiting = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const held = new Proxy(context.store, {
    get(target, name) {
      if (name !== "list") {
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      }
      return async (...args: Parameters<typeof target.list>): Promise<ListPage> => {
        const page = await target.list(...args);
        waiting.resolve();
        await gate.promise;
        return page;
      };
    },
  });
  return {
    context,
    held: { ...context, store: held },
    waiting: waiting.promise,
    open: gate.resolve,
  };
}

const names = (volumes: readonly { readonly name: string }[]) => volumes.map(({ name }) => name);

test("who asks while a scan runs gets one that began later, and shares it", async () => {
  const { context, held, waiting, open } = heldContext();
  await createVolume({ ...context, name: "a", sizeBytes: MIB });
  const scans = new SharedScans(held);
  const early = scans.volumes(context.signal);
  await waiting;
  await createVolume({ ...context, name: "b", sizeBytes: MIB });
  const late = [scans.volumes(context.signal), scans.volumes(context.signal)];
  const before = context.store.counts.gets;
  open();
  expect(names(await early)).toEqual(["a"]);
  for (const found of await Promise.all(late)) expect(names(found)).toEqual(["a", "b"]);
  // The first scan reads one record, the second, which two share, both.
  expect(context.store.counts.gets - before).toBe(3);
});

test("a fault reaches all who wait, and the next to ask begins anew", async () => {
  const context = memoryContext();
  await createVolume({ ...context, name: "a", sizeBytes: MIB });
  const list = context.store.list.bind(context.store);
  context.store.list = () => Promise.reject(new WeirError("store-denied", "planted"));
  const scans = new SharedScans(context);
  const asked = [scans.volumes(context.signal), scans.volumes(context.signal)];
  for (const found of await Promise.allSettled(asked)) {
    expect(found).toMatchObject({ status: "rejected", reason: { code: "store-denied" } });
  }
  context.store.list = list;
  expect(names(await scans.volumes(context.signal))).toEqual(["a"]);
});

test("who goes away takes the scan from nobody", async () => {
  const { context, held, waiting, open } = heldContext();
  await createVolume({ ...context, name: "a", sizeBytes: MIB });
  const scans = new SharedScans(held);
  const caller = new AbortController();
  const gone = scans.volumes(caller.signal);
  const stays = scans.volumes(context.signal);
  await waiting;
  caller.abort(new WeirError("aborted", "the caller went away"));
  await expect(gone).rejects.toMatchObject({ code: "aborted" });
  open();
  expect(names(await stays)).toEqual(["a"]);
});

test("deletions at once share their scans, and are refused as ever", async () => {
  const context = memoryContext();
  const created = [];
  for (let index = 0; index < 16; index += 1) {
    created.push(await createVolume({ ...context, name: `v${index}`, sizeBytes: MIB }));
  }
  const scans = new SharedScans(context);
  context.store.reset();
  const all = { ...context, scans, writer: "test" };
  await Promise.all(created.map(({ uid }) => deleteVolume({ ...all, uid })));
  // 16 deletions with two scans each would read 16 records 32 times.
  expect(context.store.counts.gets).toBeLessThan(8 * 16);
  expect(await scans.volumes(context.signal)).toEqual([]);
});
