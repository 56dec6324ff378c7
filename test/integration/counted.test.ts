// Goal: what Weir costs in requests, bytes and memory stays within the bounds that users pay for.
// Method: the real engine over NBD with fio as the guest, on a store in memory that counts. Counts
// are asserted, never times.
import { rmSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";

import { cloneVolume, findSnapshot } from "../../core/log/snapshots.ts";
import { createVolume } from "../../core/log/volumes.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { CountingStore } from "../../core/store/counting-store.ts";
import { MemoryStore } from "../../core/store/memory-store.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { buildNative } from "../../hack/native-build.ts";
import { ensurePackages } from "../../hack/packages.ts";
import { outputOf } from "../../hack/program.ts";
import { makeNodeFolder, openNode } from "../support/node-under-test.ts";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const TIB = 1024 ** 4;

beforeAll(async () => {
  await ensurePackages(["build", "disk"]);
  expect(await buildNative("release", "inherit")).toBe(true);
}, 600_000);

const context = (store: ObjectStore) => ({
  store,
  clock: realClock,
  random: realRandom,
  signal: AbortSignal.timeout(240_000),
});

async function fio(uri: string, ...args: readonly string[]): Promise<void> {
  await outputOf(
    [
      "fio",
      "--name=work",
      "--ioengine=nbd",
      `--uri=${uri}`,
      "--bs=4k",
      "--refill_buffers",
      ...args,
    ],
    { timeoutMs: 240_000 },
  );
}

/** Polls a count that other threads change; the bound is only a way to fail. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = AbortSignal.timeout(120_000);
  while (!(await condition())) await realClock.sleep(20, end);
}

test("1 GiB of random 4 KiB writes costs at most 1.05 GiB in at most 150 PUTs", async () => {
  await using memory = new MemoryStore({ clock: realClock });
  const store = new CountingStore(memory);
  await createVolume({ ...context(store), name: "random", sizeBytes: 4 * GIB });
  await using node = openNode({ store, config: { journalBytes: 2 * GIB } });
  const { uri } = await node.attach("random", { maxDirtyBytes: GIB });
  store.reset();
  // Each block of the first GiB exactly once, in random order.
  await fio(uri, "--rw=randwrite", "--iodepth=32", "--size=1G");
  await node.detach("random");
  expect(store.counts.sentBytes).toBeGreaterThanOrEqual(GIB);
  expect(store.counts.sentBytes).toBeLessThanOrEqual(1.05 * GIB);
  expect(store.counts.creates).toBeLessThanOrEqual(150);
});

test("overwriting one block 100,000 times between uploads uploads it once", async () => {
  await using memory = new MemoryStore({ clock: realClock });
  const store = new CountingStore(memory);
  await createVolume({ ...context(store), name: "again", sizeBytes: GIB });
  await using node = openNode({ store, config: { journalBytes: 2 * GIB } });
  const { uri } = await node.attach("again", { maxDirtyAgeMs: 86_400_000 });
  store.reset();
  await fio(uri, "--rw=randwrite", "--iodepth=32", "--size=4k", `--io_size=${100_000 * 4096}`);
  const status = await node.host.status();
  expect(status.volumes[0]?.writes).toBeGreaterThanOrEqual(100_000);
  expect(store.counts.creates).toBe(0);
  await node.detach("again");
  // One segment and one checkpoint; the segment is one block, its header and its table.
  expect(store.counts.creates).toBe(2);
  expect(store.counts.sentBytes).toBeLessThan(3 * 4096);
});

test("attaching 10 TiB takes at most 8 requests and one per uncheckpointed segment", async () => {
  await using memory = new MemoryStore({ clock: realClock });
  const store = new CountingStore(memory);
  await createVolume({ ...context(store), name: "huge", sizeBytes: 10 * TIB });
  const folder = makeNodeFolder();
  {
    await using first = openNode({ store, folder });
    const { uri } = await first.attach("huge");
    await fio(
      uri,
      "--rw=randwrite",
      "--iodepth=32",
      "--size=10T",
      "--norandommap",
      "--number_ios=3000",
    );
    await first.detach("huge");
    // Behind the checkpoint: three segments, then the engine is gone without a word.
    const again = await first.attach("huge", { maxDirtyAgeMs: 10 });
    for (let segment = 1; segment <= 3; segment += 1) {
      await fio(again.uri, "--rw=randwrite", "--size=10T", "--norandommap", "--number_ios=10");
      await until(async () => (await first.host.status()).volumes[0]?.dirtyBytes === 0);
    }
  }
  rmSync(folder, { recursive: true });
  const segments = await countSegments(store);
  await using second = openNode({ store });
  store.reset();
  // Its own name is looked up first: that is the command line's business, not the attach's.
  const NAME_LOOKUPS = 2;
  await second.attach("huge");
  expect(segments.behind).toBeGreaterThanOrEqual(3);
  expect(store.requestCount - NAME_LOOKUPS).toBeLessThanOrEqual(8 + segments.behind);
}, 280_000);

/** Segments in the newest epoch: the ones that the last attach wrote behind its checkpoint. */
async function countSegments(store: ObjectStore): Promise<{ behind: number }> {
  const keys: string[] = [];
  for (let after: string | undefined; ;) {
    const page = await store.list("volumes/", after === undefined ? {} : { after });
    keys.push(...page.objects.map(({ key }) => key).filter((key) => key.includes("/log/")));
    after = page.next;
    if (after === undefined) break;
  }
  const newest = keys.at(-1)?.split("/").at(-2);
  return { behind: keys.filter((key) => key.split("/").at(-2) === newest).length };
}

test("the first read of a cold block is one range GET once its chunk is loaded", async () => {
  await using memory = new MemoryStore({ clock: realClock });
  const store = new CountingStore(memory);
  await createVolume({ ...context(store), name: "cold", sizeBytes: GIB });
  {
    await using writer = openNode({ store });
    const { uri } = await writer.attach("cold");
    await fio(uri, "--rw=write", "--size=32M", "--iodepth=8");
    await writer.detach("cold");
  }
  await using reader = openNode({ store });
  const { uri } = await reader.attach("cold");
  await fio(uri, "--rw=read", "--size=4k"); // loads the chunk, and the first frame
  for (const offset of [MIB, 5 * MIB, 31 * MIB]) {
    store.reset();
    await fio(uri, "--rw=read", "--size=4k", `--offset=${offset}`);
    expect(store.counts).toMatchObject({ gets: 1, lists: 0, creates: 0 });
    expect(store.counts.receivedBytes).toBeLessThanOrEqual(128 * 1024 + 32);
  }
});

test("the map takes at most 24 bytes per extent", async () => {
  await using memory = new MemoryStore({ clock: realClock });
  await createVolume({ ...context(memory), name: "map", sizeBytes: 8 * GIB });
  await using node = openNode({
    store: memory,
    config: { journalBytes: 2 * GIB, holdUploads: true },
  });
  const { uri } = await node.attach("map", { maxDirtyBytes: 2 * GIB });
  await fio(uri, "--rw=randwrite", "--iodepth=32", "--size=8G", "--io_size=1G");
  const volume = (await node.host.status()).volumes[0];
  expect(volume?.mapExtents).toBeGreaterThan(250_000);
  expect((volume?.mapBytes ?? Infinity) / (volume?.mapExtents ?? 1)).toBeLessThanOrEqual(24);
});

test("clones of one base on a node fetch each frame once", async () => {
  await using memory = new MemoryStore({ clock: realClock });
  const store = new CountingStore(memory);
  const base = await createVolume({ ...context(store), name: "base", sizeBytes: GIB });
  const BYTES = 16 * MIB;
  const names = ["one", "two", "three", "four"];
  {
    await using writer = openNode({ store });
    const { uri } = await writer.attach("base");
    await fio(uri, "--rw=write", `--size=${BYTES}`, "--iodepth=8");
    await writer.host.snapshot({ name: "base", snapshot: "gold" }, context(store));
    await writer.detach("base");
  }
  const snapshot = await findSnapshot({ ...context(store), name: "gold" });
  if (snapshot === undefined) throw new Error("the snapshot was not found");
  expect(snapshot.volume).toBe(base.uid);
  store.reset();
  await cloneVolume({ ...context(store), name: "counted", snapshot });
  expect(store.requestCount).toBeLessThanOrEqual(12); // whatever the size
  for (const name of names) await cloneVolume({ ...context(store), name, snapshot });
  await using node = openNode({ store });
  const uris = await Promise.all(names.map(async (name) => (await node.attach(name)).uri));
  store.reset();
  await Promise.all(
    uris.map((uri) => fio(uri, "--rw=randread", `--size=${BYTES}`, "--iodepth=16")),
  );
  const frames = BYTES / (128 * 1024);
  const chunks = names.length * Math.ceil(BYTES / (64 * MIB));
  expect(store.counts.gets).toBeGreaterThanOrEqual(frames);
  expect(store.counts.gets).toBeLessThanOrEqual(frames + chunks);
});
