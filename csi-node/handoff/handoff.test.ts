// Goal: a handoff as users and people see it, over fake engines: nobody's I/O fails, one engine
// serves, uploads go on with an epoch of their own, and what goes wrong leaves the old one serving.
// Method: whole engines in one world (test/support/handoff), time on the fake clock.
import { expect, test } from "vitest";

import { LogWriter } from "../../core/log/log-writer.ts";
import { openLog } from "../../core/log/open-log.ts";
import { asSeq, asVolumeUid } from "../../core/runtime/ids.ts";
import { HandoffWorld, type FakeNode } from "../../test/support/handoff/handoff-world.ts";
import { sampleSegment } from "../../test/support/log/samples.ts";
import type { AttachedVolume } from "../control/engine-api.ts";

const VOLUMES = 3;

async function servedWorld(): Promise<HandoffWorld> {
  const world = new HandoffWorld();
  await world.createVolumes(VOLUMES);
  void world.run("old", { takeOver: true });
  await until(world, () => world.serving.length === 1);
  const [node] = world.serving;
  if (node === undefined) throw new Error("no engine came up");
  await world.finished(world.attachAll(node, VOLUMES));
  return world;
}

async function until(world: HandoffWorld, condition: () => boolean): Promise<void> {
  const held = await world.reached(condition, 120_000);
  expect(held, world.nodes.map(({ fault }) => String(fault)).join()).toBe(true);
}

test("a successor takes over while users write", async () => {
  await using world = await servedWorld();
  void world.run("new", { takeOver: true });
  await until(world, () => world.serving[0]?.container === "new" && world.isSettled);
  const before = world.answered;
  await until(world, () => world.answered > before + 200);
  expect(world.machine.violations).toEqual([]);
  expect(world.nodes.map(({ engine }) => engine.state)).toEqual(["idle", "serving"]);
});

const { signal } = new AbortController();

async function volumesOf(world: HandoffWorld, node: FakeNode): Promise<readonly AttachedVolume[]> {
  return (await world.finished(world.hostOf(node).status())).volumes;
}

/** All volumes, once each is as it should be. */
async function eventually(
  world: HandoffWorld,
  node: FakeNode,
  isSo: (volume: AttachedVolume) => boolean,
): Promise<readonly AttachedVolume[]> {
  for (let seconds = 0; seconds < 60; seconds += 1) {
    await world.finished(world.clock.sleep(1_000));
    const volumes = await volumesOf(world, node);
    if (volumes.length === VOLUMES && volumes.every((volume) => isSo(volume))) return volumes;
  }
  return expect.fail("the volumes did not become what they should be");
}

/** The engine that serves after a handoff. */
async function handedOver(world: HandoffWorld): Promise<FakeNode> {
  void world.run("new", { takeOver: true });
  await until(world, () => world.serving[0]?.container === "new" && world.isSettled);
  const [node] = world.serving;
  if (node === undefined) throw new Error("nobody serves");
  return node;
}

/** The store goes down with the window's end, and stays so. */
async function handedOverWithoutStore(world: HandoffWorld): Promise<FakeNode> {
  world.onStep = (_node, step) => {
    if (step === "take-ended") world.storeDown = true;
  };
  const node = await handedOver(world);
  world.onStep = () => undefined;
  return node;
}

test("the successor claims an epoch of its own and uploads with it", async () => {
  await using world = await servedWorld();
  const node = await handedOver(world);
  const isUploaded = ({ epoch, committedEpoch }: AttachedVolume): boolean =>
    epoch > 1 && committedEpoch === epoch;
  const volumes = await eventually(world, node, isUploaded);
  for (const { fault } of volumes) expect(fault).toBeUndefined();
});

test("with the store down after the window it serves, and claims an epoch later", async () => {
  await using world = await servedWorld();
  const node = await handedOverWithoutStore(world);
  const before = world.answered;
  await until(world, () => world.answered > before + 100);
  expect((await volumesOf(world, node)).map(({ epoch }) => epoch)).toEqual([1, 1, 1]);
  world.storeDown = false;
  await eventually(world, node, ({ epoch }) => epoch === 2);
  expect(world.machine.violations).toEqual([]);
});

test("a log that holds what the predecessor did not name: the volume is opened anew", async () => {
  await using world = await servedWorld();
  const node = await handedOverWithoutStore(world);
  // A PUT of the predecessor that everybody took for lost arrives.
  const [volume] = await volumesOf(world, node);
  if (volume === undefined) throw new Error("nothing is attached");
  const journalId = world.machine.journals.get(volume.uid)?.journalId;
  const seq = asSeq(volume.committedSeq + 1);
  const { bytes } = sampleSegment({
    ...{ volume: volume.uid, epoch: 1, seq, random: world.random },
    ...(journalId === undefined ? {} : { journalId }),
  });
  const key = `volumes/${volume.uid}/log/${hex(1)}/${hex(seq)}`;
  expect(await world.bucket.create(key, bytes)).toEqual({ kind: "created" });
  world.storeDown = false;
  const volumes = await eventually(
    world,
    node,
    ({ uid, epoch }) => epoch > (uid === volume.uid ? 2 : 1),
  );
  for (const after of volumes) {
    expect(after).toMatchObject({ fault: undefined, strandedJournal: undefined });
  }
  const before = world.answered;
  await until(world, () => world.answered > before + 100);
  expect(world.machine.violations).toEqual([]);
});

test("another node that claims meanwhile fences the volume, as after a restart", async () => {
  await using world = await servedWorld();
  const node = await handedOverWithoutStore(world);
  const [volume] = await volumesOf(world, node);
  const uid = asVolumeUid(volume?.uid ?? "");
  const context = { store: world.bucket, clock: world.clock, random: world.random, signal };
  const taken = openLog({ ...context, volume: uid, writer: "another-node" });
  expect((await world.finished(taken)).epoch).toBe(2);
  world.storeDown = false;
  const isFenced = ({ fault }: AttachedVolume): boolean => fault?.code === "fenced";
  await eventually(world, node, (found) => found.uid !== uid || isFenced(found));
  expect(world.machine.violations).toEqual([`volume ${uid} ended in EIO`]);
  // The other node's log is its own.
  const writer = new LogWriter({ ...context, volume: uid, epoch: (await taken).epoch });
  const { bytes } = sampleSegment({ volume: uid, epoch: 2, seq: 1, random: world.random });
  await writer.commitSegment({ seq: asSeq(1), bytes });
});

test("a change asked for during a handoff waits, and is sent to the new engine", async () => {
  await using world = await servedWorld();
  const [old] = world.serving;
  if (old === undefined) throw new Error("nobody serves");
  let grown: Promise<unknown> | undefined;
  world.onStep = (_node, step) => {
    if (step !== "predecessor warming") return;
    const call = world.hostOf(old).grow({ name: "v0", sizeBytes: 2 ** 31 }, { signal });
    grown = call.catch((cause: unknown) => cause);
  };
  const node = await handedOver(world);
  expect(await grown).toMatchObject({ code: "engine-unavailable" });
  const again = world.hostOf(node).grow({ name: "v0", sizeBytes: 2 ** 31 }, { signal });
  await world.finished(again);
  const volumes = await volumesOf(world, node);
  expect(volumes.find(({ name }) => name === "v0")?.sizeBytes).toBe(2 ** 31);
});

test("a change under way when a handoff begins is waited for, uploads and all", async () => {
  await using world = await servedWorld();
  const [old] = world.serving;
  if (old === undefined) throw new Error("nobody serves");
  const order: string[] = [];
  const snapshot = world
    .hostOf(old)
    .snapshot({ name: "v1", snapshot: "monday" }, { signal })
    .then(() => order.push("snapshot"));
  world.onStep = ({ container }, step) => order.push(`${container} ${step}`);
  await handedOver(world);
  await snapshot;
  expect(order.indexOf("snapshot")).toBeLessThan(order.indexOf("old predecessor warming"));
});

test("a dry run loads everything and leaves no trace", async () => {
  await using world = await servedWorld();
  const trial = world.spawn("trial");
  const keys = (await world.bucket.list("volumes/")).objects.length;
  const result = await world.finished(trial.engine.tryWarm(signal));
  expect(result).toMatchObject({ kind: "warm" });
  expect(trial.native.volumes).toEqual([]);
  const before = world.answered;
  await until(world, () => world.answered > before + 100);
  expect(world.serving.map(({ container }) => container)).toEqual(["old"]);
  expect((await world.bucket.list("volumes/")).objects.length).toBeGreaterThanOrEqual(keys);
});

test("an engine told to end while it takes its volumes back leaves nothing open", async () => {
  await using world = await servedWorld();
  const [old] = world.serving;
  if (old === undefined) throw new Error("nobody serves");
  let ended: Promise<void> | undefined;
  world.onStep = ({ container }, step) => {
    if (step === "predecessor given") world.nodes.at(-1)?.process.kill();
    if (container === "old" && step === "predecessor reclaiming") ended = old.engine.close();
  };
  const successor = world.spawn("new");
  void successor.engine.start({ takeOver: true, signal }).catch(() => undefined);
  await until(world, () => ended !== undefined);
  await world.finished(ended ?? Promise.resolve());
  await world.finished(world.clock.sleep(1_000));
  expect([...world.controls.values()].filter(({ pid }) => pid === old.process.pid)).toEqual([]);
  expect(world.machine.violations).toEqual([]);
});

test("two successors at once: one takes over, the other is told", async () => {
  await using world = await servedWorld();
  const rivals = [world.spawn("a"), world.spawn("b")];
  const starts = rivals.map(({ engine }) => engine.start({ takeOver: true, signal }));
  const outcomes = await world.finished(Promise.allSettled(starts));
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  const lost = outcomes.find((outcome) => outcome.status === "rejected");
  expect(lost?.reason).toMatchObject({ code: "in-use" });
  expect(world.machine.violations).toEqual([]);
});

const hex = (value: number): string => value.toString(16).padStart(16, "0");
