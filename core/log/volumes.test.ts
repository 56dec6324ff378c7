// Goal: a volume exists with its record, a name has one owner, and a deletion may die at any
// request. Method: create, find, list and delete in all orders of half-done work; requests counted;
// deletions that die before each of their calls and are repeated.

import { expect, test } from "vitest";

import { asNonce, asSeq, asVolumeUid } from "../runtime/ids.ts";
import { listVolumes, listVolumeUids } from "./catalog.ts";
import { volumeKey, volumeNameKey } from "./keys.ts";
import { LogWriter } from "./log-writer.ts";
import type { OpenedLog } from "./open-log.ts";
import { openLog } from "./open-log.ts";
import { encodeRecord } from "./records.ts";
import { countRequests, memoryContext } from "../../test/support/log/memory-context.ts";
import type { MemoryContext } from "../../test/support/log/memory-context.ts";
import { GIB, sampleSegment } from "../../test/support/log/samples.ts";
import { createVolume, deleteVolume, findVolume } from "./volumes.ts";

const UID = asVolumeUid("a".repeat(32));

const create = (context: MemoryContext, name: string, more: { uid?: typeof UID } = {}) =>
  createVolume({ ...context, name, sizeBytes: GIB, ...more });

test("a volume is created in two requests and found in two", async () => {
  const context = memoryContext();
  const created = await countRequests(context, () => create(context, "a"));
  expect(created.requests).toBe(2);
  const found = await countRequests(context, () => findVolume({ ...context, name: "a" }));
  expect(found.requests).toBe(2);
  expect(found.result).toEqual(created.result);
  expect(await findVolume({ ...context, name: "b" })).toBeUndefined();
});

test("a taken name is refused, and the attempt leaves nothing behind", async () => {
  const context = memoryContext();
  await create(context, "a");
  const before = context.bucket.keys();
  await expect(create(context, "a")).rejects.toMatchObject({ code: "name-taken" });
  expect(context.bucket.keys()).toEqual(before);
});

test("a repeated call with the same uid finds its own work, at any point of it", async () => {
  const context = memoryContext();
  const first = await create(context, "a", { uid: UID });
  expect(await create(context, "a", { uid: UID })).toEqual(first);
  await context.bucket.delete(volumeNameKey("a"));
  expect(await create(context, "a", { uid: UID })).toEqual(first);
  expect(await findVolume({ ...context, name: "a" })).toEqual(first);
  const other = createVolume({ ...context, name: "a", uid: UID, sizeBytes: 2 * GIB });
  await expect(other).rejects.toMatchObject({ code: "name-taken" });
  await expect(create(context, "b", { uid: UID })).rejects.toMatchObject({ code: "name-taken" });
});

test("the name of a volume whose deletion was left half done is free", async () => {
  const context = memoryContext();
  const { uid } = await create(context, "a");
  await context.bucket.delete(volumeKey(uid));
  expect(await findVolume({ ...context, name: "a" })).toBeUndefined();
  const again = await create(context, "a");
  expect(await findVolume({ ...context, name: "a" })).toEqual(again);
});

test("the uid of a deleted volume is refused while anything of it is left", async () => {
  const context = memoryContext();
  await create(context, "a", { uid: UID });
  await openLog({ ...context, volume: UID, writer: "n" });
  await context.bucket.delete(volumeKey(UID));
  await expect(create(context, "a", { uid: UID })).rejects.toMatchObject({ code: "in-use" });
});

test("sizes and names that no volume can have are refused before any request", async () => {
  const context = memoryContext();
  const sizes = [0, 1, 4095, -4096, 2 ** 47, Number.NaN, 0.5];
  for (const sizeBytes of sizes) {
    const attempt = createVolume({ ...context, name: "a", sizeBytes });
    await expect(attempt).rejects.toMatchObject({ code: "invalid-argument" });
  }
  await expect(create(context, "A/../b")).rejects.toMatchObject({ code: "invalid-argument" });
  expect(context.store.requestCount).toBe(0);
});

test("volumes are listed by name, however much is in them", async () => {
  const context = memoryContext();
  for (const name of ["c", "a", "b"]) {
    const { uid } = await create(context, name);
    for (let seq = 1; seq <= 50; seq += 1)
      await context.bucket.create(`volumes/${uid}/x/${seq}`, UID_BYTES);
  }
  await context.bucket.create(`volumes/${UID}/x/leftover`, UID_BYTES);
  const listed = await countRequests(context, () => listVolumes(context));
  expect(listed.result.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  // One LIST for each of 16 digits and for each of 4 folders, one GET for each folder.
  expect(listed.requests).toBe(16 + 4 + 4);
  expect((await listVolumeUids(context)).length).toBe(4);
});

const UID_BYTES = Buffer.from(UID);

/** A volume with an open writer that has committed something. */
async function volumeInUse(context: MemoryContext) {
  const { uid } = await create(context, "a");
  const { epoch } = await openLog({ ...context, volume: uid, writer: "n" });
  const writer = new LogWriter({ ...context, volume: uid, epoch });
  const segment = (seq: number) => {
    const { bytes } = sampleSegment({ volume: uid, epoch, seq, random: context.random });
    return { seq: asSeq(seq), bytes };
  };
  await writer.commitSegment(segment(1));
  return { uid, writer, segment };
}

test("a deletion leaves nothing", async () => {
  const context = memoryContext();
  await create(context, "other");
  const before = context.bucket.keys();
  const { uid } = await volumeInUse(context);
  await deleteVolume({ ...context, uid, writer: "operator" });
  expect(context.bucket.keys()).toEqual(before);
  await deleteVolume({ ...context, uid, writer: "operator" });
  expect(await findVolume({ ...context, name: "a" })).toBeUndefined();
});

test("a deletion fences the writer before anything is gone", async () => {
  const context = memoryContext();
  const { uid, writer, segment } = await volumeInUse(context);
  const store = {
    ...pickStore(context),
    delete: async (): Promise<void> => {
      await expect(writer.commitSegment(segment(2))).rejects.toMatchObject({ code: "fenced" });
      throw new Error("stop here");
    },
  };
  const deletion = deleteVolume({ ...context, store, uid, writer: "operator" });
  await expect(deletion).rejects.toThrow("stop here");
  expect(writer.fenced?.message).toContain("epoch 2");
});

function pickStore({ bucket }: MemoryContext) {
  return {
    label: "memory",
    create: bucket.create.bind(bucket),
    get: bucket.get.bind(bucket),
    list: bucket.list.bind(bucket),
    delete: bucket.delete.bind(bucket),
    [Symbol.asyncDispose]: async () => {},
  };
}

test("a volume whose log cannot be read can still be deleted", async () => {
  const context = memoryContext();
  const { uid } = await volumeInUse(context);
  const key = context.bucket.keys().find((at) => at.includes("/log/")) ?? "";
  context.bucket.overwrite(key, Buffer.from("rubbish"));
  await deleteVolume({ ...context, uid, writer: "operator" });
  expect(context.bucket.keys()).toEqual([]);
});

test("a deletion that dies at any call leaves a volume, or garbage without a record", async () => {
  let deaths = 0;
  for (let call = 1, died = true; died; call += 1) {
    const context = memoryContext();
    const { uid } = await volumeInUse(context);
    let calls = 0;
    const dying = <A extends unknown[], R>(work: (...given: A) => Promise<R>) => {
      return async (...given: A): Promise<R> => {
        calls += 1;
        if (calls >= call) throw new Error("died");
        return work(...given);
      };
    };
    const real = pickStore(context);
    const store = {
      ...real,
      create: dying(real.create),
      get: dying(real.get),
      list: dying(real.list),
      delete: dying(real.delete),
    };
    const deletion = deleteVolume({ ...context, store, uid, writer: "operator" });
    died = await deletion.then(
      () => false,
      () => true,
    );
    deaths += died ? 1 : 0;
    const listed = await listVolumes(context);
    const found = await findVolume({ ...context, name: "a" });
    const hasRecord = context.bucket.keys().includes(volumeKey(uid));
    expect(listed.length).toBe(hasRecord ? 1 : 0);
    expect(found === undefined).toBe(!hasRecord);
    // While the record is there, the volume still opens: nothing was taken from it.
    const open = (): Promise<OpenedLog> => openLog({ ...context, volume: uid, writer: "n" });
    expect(hasRecord ? (await open()).segments.length : 1).toBe(1);
    await deleteVolume({ ...context, uid, writer: "operator" });
    const left = context.bucket.keys().filter((key) => key.startsWith("volumes/"));
    expect(left).toEqual([]);
    await create(context, "a");
  }
  expect(deaths).toBeGreaterThan(20);
});

test("a record of a newer format is not guessed at", async () => {
  const context = memoryContext();
  const { uid } = await create(context, "a");
  const newer = Buffer.from(JSON.stringify({ format: 2, uid, name: "a" }));
  context.bucket.overwrite(volumeKey(uid), newer);
  const unknown = { code: "format-unknown", details: { key: volumeKey(uid) } };
  await expect(findVolume({ ...context, name: "a" })).rejects.toMatchObject(unknown);
  // A deletion that cannot tell what depends on what deletes nothing.
  const { uid: other } = await create(context, "b");
  const keys = context.bucket.keys();
  const deletion = deleteVolume({ ...context, uid: other, writer: "operator" });
  await expect(deletion).rejects.toMatchObject({ code: "format-unknown" });
  expect(context.bucket.keys()).toEqual(keys);
});

test("an entry of somebody else is not released", async () => {
  const context = memoryContext();
  const { uid } = await create(context, "a");
  const entry = encodeRecord({ format: 1, uid: UID, nonce: asNonce("b".repeat(32)) });
  context.bucket.overwrite(volumeNameKey("a"), entry);
  await deleteVolume({ ...context, uid, writer: "operator" });
  expect(context.bucket.keys()).toEqual([volumeNameKey("a")]);
});
