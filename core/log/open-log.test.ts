// Goal: an opening is exact whatever the bucket looks like, costs a bounded number of requests, and
// may die at any of them. Method: logs built by hand, requests counted; then an opener that dies
// before each of its calls, in many seeded runs beside a live writer, and a judge
// (test/support/log/volume-world.ts) for what the next opening finds.

import { expect, test } from "vitest";

import { asEpoch, asNonce, asSeq, asVolumeUid } from "../runtime/ids.ts";
import type { VolumeUid } from "../runtime/ids.ts";
import { checkpointRootBytes } from "./checkpoint-codec.ts";
import type { CheckpointRoot } from "./checkpoint-codec.ts";
import { writeCheckpoint } from "./checkpoints.ts";
import { checkpointKey, logKey } from "./keys.ts";
import { CHUNK_BYTES } from "./limits.ts";
import { LogWriter } from "./log-writer.ts";
import { openLog, readLog } from "./open-log.ts";
import { encodeSeal } from "./segment-codec.ts";
import { cloneVolume, createSnapshot } from "./snapshots.ts";
import { countRequests, memoryContext } from "../../test/support/log/memory-context.ts";
import type { MemoryContext } from "../../test/support/log/memory-context.ts";
import {
  GIB,
  JOURNAL,
  sampleDataSegment,
  samplePayload,
  sampleSegment,
} from "../../test/support/log/samples.ts";
import { isFenced, VolumeWorld } from "../../test/support/log/volume-world.ts";
import { createVolume } from "./volumes.ts";

const TEN_TIB = 10 * 2 ** 40;

async function newVolume(context: MemoryContext, sizeBytes = GIB): Promise<VolumeUid> {
  return (await createVolume({ ...context, name: "v", sizeBytes })).uid;
}

/** Commits segments from..to of an epoch. */
async function write(context: MemoryContext, volume: VolumeUid, epoch: number, count: number) {
  const writer = new LogWriter({ ...context, volume, epoch: asEpoch(epoch) });
  for (let seq = 1; seq <= count; seq += 1) {
    const bytes = sampleDataSegment({ volume, epoch, seq, random: context.random });
    await writer.commitSegment({ seq: asSeq(seq), bytes });
  }
}

const open = (context: MemoryContext, volume: VolumeUid) =>
  openLog({ ...context, volume, writer: "node-a" });

test("a new volume opens empty with epoch 1, in six requests", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  const { requests, result } = await countRequests(context, () => open(context, volume));
  expect(requests).toBe(6);
  expect(result).toMatchObject({ epoch: 1, checkpoint: null, segments: [] });
  const position = { epoch: 0, seq: 0 };
  expect(result.committed).toEqual({
    position,
    journalId: null,
    journalEnd: 0,
    volumeSizeBytes: GIB,
  });
});

test("10 TiB with a full checkpoint and one segment open in eight requests and one", async () => {
  const context = memoryContext();
  const volume = await newVolume(context, TEN_TIB);
  await open(context, volume);
  await write(context, volume, 1, 1);
  const root = await writeCheckpoint({
    ...checkpointAt(context, volume, 1, 1),
    volumeSizeBytes: TEN_TIB,
    previous: fullRoot(await writeCheckpoint(checkpointAt(context, volume, 1, 0))),
    changed: [{ chunk: 7, payload: samplePayload({ volume, chunk: 7, seq: 1 }) }],
  });
  expect(checkpointRootBytes(root.header)).toBeGreaterThan(256 * 1024);
  const { random, bucket } = context;
  const second = { volume, epoch: asEpoch(1), seq: asSeq(2) };
  await bucket.create(logKey(second), sampleDataSegment({ ...second, random }));
  const { requests, result } = await countRequests(context, () => open(context, volume));
  expect(requests).toBe(8 + 1);
  expect(result.checkpoint?.chunks.length).toBe(163_840);
  expect(result.segments.map((segment) => segment.position)).toEqual([{ epoch: 1, seq: 2 }]);
  const position = { epoch: 1, seq: 2 };
  expect(result.committed).toMatchObject({ position, journalId: JOURNAL, journalEnd: 20 });
});

/** A root as that of an older checkpoint in which every chunk of 10 TiB has data. */
function fullRoot(older: CheckpointRoot): CheckpointRoot {
  const chunks = Array.from({ length: TEN_TIB / CHUNK_BYTES }, (_, chunk) => ({
    chunk,
    object: 0,
    offset: 4_000_000 + chunk * 100,
    length: 100,
    crc: 0,
  }));
  return { ...older, chunks };
}

function checkpointAt(context: MemoryContext, volume: VolumeUid, epoch: number, seq: number) {
  return {
    ...context,
    volume,
    position: { epoch: asEpoch(epoch), seq: asSeq(seq) },
    journalId: JOURNAL,
    journalEnd: seq * 10,
    volumeSizeBytes: GIB,
    previous: null,
    changed: [],
  };
}

test("each segment behind the checkpoint costs one request and gives its index", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  await open(context, volume);
  await write(context, volume, 1, 40);
  await writeCheckpoint(checkpointAt(context, volume, 1, 10));
  const { requests, result } = await countRequests(context, () => open(context, volume));
  expect(requests).toBe(8 + 30);
  expect(result.segments.map(({ position }) => position.seq)).toEqual(
    Array.from({ length: 30 }, (_, index) => index + 11),
  );
  expect(result.segments.map(({ indexBytes }) => indexBytes.length)).toEqual(
    Array.from({ length: 30 }, () => 128 + 12 + 16),
  );
});

test("a root larger than the first read costs one request more", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  await open(context, volume);
  // The volume was created small and has grown: the guess goes by the first size.
  const changed = Array.from({ length: 12_000 }, (_, chunk) => ({
    chunk,
    payload: samplePayload({ volume, chunk, seq: 1 }),
  }));
  const volumeSizeBytes = 12_000 * CHUNK_BYTES;
  await writeCheckpoint({ ...checkpointAt(context, volume, 1, 0), volumeSizeBytes, changed });
  const { requests, result } = await countRequests(context, () => open(context, volume));
  expect(requests).toBe(9);
  expect(result.checkpoint?.chunks.length).toBe(12_000);
  expect(result.committed.volumeSizeBytes).toBe(volumeSizeBytes);
});

test("every opening ends the epochs before it; the log goes on behind them", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  expect((await open(context, volume)).epoch).toBe(1);
  await write(context, volume, 1, 3);
  expect((await open(context, volume)).epoch).toBe(2);
  expect((await open(context, volume)).epoch).toBe(3);
  await write(context, volume, 3, 2);
  const { epoch, segments } = await open(context, volume);
  expect(epoch).toBe(4);
  const places = segments.map(({ position }) => `${position.epoch}/${position.seq}`);
  expect(places).toEqual(["1/1", "1/2", "1/3", "3/1", "3/2"]);
});

test("what lies behind a gap or a SEAL was never committed", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  await open(context, volume);
  await write(context, volume, 1, 2);
  for (const seq of [4, 5]) {
    const { bytes } = sampleSegment({ volume, epoch: 1, seq, random: context.random });
    await context.bucket.create(logKey({ volume, epoch: asEpoch(1), seq: asSeq(seq) }), bytes);
  }
  expect((await readLog({ ...context, volume })).segments.length).toBe(2);
  expect((await open(context, volume)).segments.length).toBe(2);
  // The SEAL lies at 3 now; 4 and 5 exist, and are not part of the log.
  expect((await readLog({ ...context, volume })).segments.length).toBe(2);
});

test("a reader that was told a position reads exactly to there, or not at all", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  const at = (epoch: number, seq: number) => ({ epoch: asEpoch(epoch), seq: asSeq(seq) });
  await open(context, volume);
  expect((await readLog({ ...context, volume, at: at(0, 0) })).newestEpoch).toBe(1);
  await write(context, volume, 1, 3);
  const keys = (await context.bucket.list("")).objects.map(({ key }) => key);
  const found = await readLog({ ...context, volume, at: at(1, 3) });
  expect(found.committed.position).toEqual(at(1, 3));
  expect(found.segments.length).toBe(3);
  for (const other of [at(0, 0), at(1, 2), at(1, 4), at(2, 1)]) {
    await expect(readLog({ ...context, volume, at: other })).rejects.toMatchObject({
      code: "aborted",
    });
  }
  // No epoch, no SEAL: the log's writer does not notice.
  expect((await context.bucket.list("")).objects.map(({ key }) => key)).toEqual(keys);
});

test("a writer that keeps writing is overtaken by more SEALs at once", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  await open(context, volume);
  const key = (seq: number) => logKey({ volume, epoch: asEpoch(1), seq: asSeq(seq) });
  let ahead = 0;
  // Each SEAL that arrives finds the old writer two segments further.
  const store = {
    label: "race",
    create: async (at: string, body: Uint8Array) => {
      if (at.includes("/log/")) {
        for (let more = 0; more < 2 && ahead < 30; more += 1) {
          ahead += 1;
          const { bytes } = sampleSegment({ volume, epoch: 1, seq: ahead, random: context.random });
          await context.bucket.create(key(ahead), bytes);
        }
      }
      return context.bucket.create(at, body);
    },
    get: context.bucket.get.bind(context.bucket),
    list: context.bucket.list.bind(context.bucket),
    delete: context.bucket.delete.bind(context.bucket),
    [Symbol.asyncDispose]: async () => {},
  };
  const opened = await openLog({ ...context, store, volume, writer: "node-b" });
  // What counts is the prefix before the first SEAL; the old writer's later ones are lost to it.
  const count = opened.segments.length;
  expect(opened.segments.map(({ position }) => position.seq)).toEqual(
    Array.from({ length: count }, (_, index) => index + 1),
  );
  expect(count).toBeGreaterThan(2);
  expect((await readLog({ ...context, volume })).segments.length).toBe(count);
});

test("a clone without a checkpoint begins with its parent's", async () => {
  const context = memoryContext();
  const parent = await newVolume(context);
  await open(context, parent);
  await write(context, parent, 1, 2);
  const payload = samplePayload({ volume: parent, chunk: 0, seq: 1 });
  const changed = [{ chunk: 0, payload }];
  const root = await writeCheckpoint({ ...checkpointAt(context, parent, 1, 2), changed });
  const snapshot = await createSnapshot({
    ...context,
    name: "s",
    volume: { uid: parent },
    position: root.header,
    checkpoint: root.header,
    sizeBytes: GIB,
  });
  const clone = await cloneVolume({ ...context, name: "c", snapshot, sizeBytes: 2 * GIB });
  const { requests, result } = await countRequests(context, () => open(context, clone.uid));
  expect(requests).toBe(7);
  expect(result.checkpoint).toEqual(root);
  const position = { epoch: 0, seq: 0 };
  const fresh = { position, journalId: null, journalEnd: 0, volumeSizeBytes: 2 * GIB };
  expect(result.committed).toEqual(fresh);
  // Its own checkpoint keeps pointing to the parent's chunk.
  const own = await writeCheckpoint({
    ...checkpointAt(context, clone.uid, 1, 0),
    previous: result.checkpoint,
  });
  expect(own.objects[own.chunks[0]?.object ?? -1]).toMatchObject({
    volume: parent,
    epoch: 1,
    seq: 2,
  });
});

test("an opener that a higher epoch overtook is fenced, at its commit at the latest", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  await open(context, volume);
  const place = { volume, epoch: asEpoch(1), seq: asSeq(1) };
  const nonce = asNonce("a".repeat(32));
  const seal = encodeSeal({ ...place, nonce, sealedByEpoch: asEpoch(9), createdAtMs: 0 });
  await context.bucket.create(logKey(place), seal);
  // Whose SEAL that is it does not read; the higher epoch seals ours as well, and that is what
  // stops us.
  expect((await open(context, volume)).epoch).toBe(2);
  const ours = { volume, epoch: asEpoch(2), seq: asSeq(1) };
  const sealOfOurs = encodeSeal({ ...ours, nonce, sealedByEpoch: asEpoch(9), createdAtMs: 0 });
  await context.bucket.create(logKey(ours), sealOfOurs);
  await expect(write(context, volume, 2, 1)).rejects.toMatchObject({ code: "fenced" });
  // The next one sees the foreign work in its own epoch.
  const own = { volume, epoch: asEpoch(3), seq: asSeq(1) };
  const ownSeal = encodeSeal({ ...own, nonce, sealedByEpoch: asEpoch(9), createdAtMs: 0 });
  await context.bucket.create(logKey(own), ownSeal);
  await expect(open(context, volume)).rejects.toMatchObject({ code: "fenced" });
});

test("to resume is to claim the next epoch after one's own, or nothing", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  const resume = (writer: string) => openLog({ ...context, volume, writer, resume: true });
  expect((await resume("node-a")).epoch).toBe(1);
  expect((await resume("node-a")).epoch).toBe(2);
  await expect(resume("node-b")).rejects.toMatchObject({ code: "fenced" });
  await openLog({ ...context, volume, writer: "node-b" });
  await expect(resume("node-a")).rejects.toMatchObject({ code: "fenced" });
  expect((await readLog({ ...context, volume })).newestEpoch).toBe(3);
  // Somebody claims between the look and the claim: the number is theirs, and there is no other.
  const racing = await Promise.allSettled([resume("node-b"), resume("node-b"), resume("node-b")]);
  const lost = racing.filter(
    (outcome) => outcome.status === "rejected" && isFenced(outcome.reason),
  );
  expect(lost.length).toBe(2);
});

test("a missing volume and damaged objects end in faults that name the object", async () => {
  const context = memoryContext();
  const volume = await newVolume(context);
  const absent = openLog({ ...context, volume: asVolumeUid("0".repeat(32)), writer: "n" });
  await expect(absent).rejects.toMatchObject({ code: "not-found" });
  await open(context, volume);
  await write(context, volume, 1, 2);
  const key = logKey({ volume, epoch: asEpoch(1), seq: asSeq(2) });
  const found = await context.bucket.get(key);
  if (found.kind !== "found") throw new Error("the segment is there");
  context.bucket.overwrite(key, found.bytes.fill(7, 130, 140));
  const damaged = { code: "object-corrupt", details: { key } };
  await expect(open(context, volume)).rejects.toMatchObject(damaged);
  const place = { volume, epoch: asEpoch(1), seq: asSeq(1) };
  context.bucket.overwrite(checkpointKey(place), Buffer.from("rubbish"));
  const unreadable = { code: "object-corrupt", details: { key: checkpointKey(place) } };
  await expect(open(context, volume)).rejects.toMatchObject(unreadable);
});

/** One run: a live writer, an opener that dies before its n-th call, then a taker. */
async function dieAtCall(seed: number, call: number) {
  const world = new VolumeWorld({ seed, faultRate: seed % 2 === 0 ? 0 : 0.3 });
  await world.create();
  const dying = world.client({ name: "dying", diesAtCall: call });
  await world.scheduler.run<unknown>([
    world.liveAsWriter("A", { count: 6, checkpoints: seed % 3 === 0 }),
    Promise.race([world.openAs(dying), dying.died]),
  ]);
  const [taken] = await world.scheduler.run([world.openAs(world.client({ name: "taker" }))]);
  await world.scheduler.drain();
  if (taken?.status !== "fulfilled") throw new Error("the taker failed", { cause: taken?.reason });
  const [life] = world.writers;
  const [last] = await world.scheduler.run([life?.commitNext?.() ?? Promise.reject(life?.fault)]);
  const violations = [
    ...(await world.judgeView("the taker", taken.value)),
    ...(await world.judgeLog()),
    ...(last?.status === "rejected" && isFenced(last.reason) ? [] : ["A was not fenced"]),
  ];
  return { violations, died: dying.calls >= call, trace: world.scheduler.trace };
}

test("an opener may die at any call: the next opening is right", { timeout: 60_000 }, async () => {
  let deaths = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    for (let call = 1, died = true; died; call += 1) {
      const verdict = await dieAtCall(seed, call);
      const trace = verdict.violations.length > 0 ? verdict.trace : [];
      const violations: readonly string[] = [];
      expect({ seed, call, ...verdict, trace }).toMatchObject({
        seed,
        call,
        violations,
        trace: [],
      });
      died = verdict.died;
      deaths += died ? 1 : 0;
    }
  }
  expect(deaths).toBeGreaterThan(40 * 6);
});
