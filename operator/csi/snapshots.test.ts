// Goal: snapshots are taken by a node, never by two at once and never while another node may get
// the volume; restores and clones hold what they stand on; all of it can be deleted in any order.
// Method: CSI functions, reconcilers and the nodes' snapshot agents over a fake API server.

import { afterEach, beforeEach, expect, test } from "vitest";
import { expectLog } from "../../test/support/log-capture.ts";
import {
  createRequest,
  GIB,
  mountCapability,
  OperatorWorld,
  snapshotRequest,
} from "../../test/support/operator-world.ts";
import {
  ControllerExpandVolumeRequest,
  ControllerPublishVolumeRequest,
  ControllerUnpublishVolumeRequest,
  DeleteSnapshotRequest,
  DeleteVolumeRequest,
  GetSnapshotRequest,
  ListSnapshotsRequest,
  type CreateVolumeRequest,
  type VolumeContentSource,
} from "../../core/csi/generated/csi.ts";
import { findVolume } from "../../core/log/volumes.ts";
import { findCondition } from "../../crds/conditions.ts";
import { SNAPSHOT } from "../../crds/snapshot.ts";
import { ANNOTATIONS } from "../driver.ts";
import { createVolume } from "./create-volume.ts";
import { deleteVolume } from "./delete-volume.ts";
import { expandVolume } from "./expand-volume.ts";
import { publishVolume, unpublishVolume } from "./publish-volume.ts";
import { createSnapshot, deleteSnapshot, getSnapshot, listSnapshots } from "./snapshots.ts";

let world: OperatorWorld;

beforeEach(async () => {
  world = await OperatorWorld.started();
});

afterEach(async () => {
  await world[Symbol.asyncDispose]();
  expect(world.clock.timerCount).toBe(0);
});

const fromSnapshot = (snapshotId: string): VolumeContentSource => ({
  type: { $case: "snapshot", value: { snapshotId } },
});
const fromVolume = (volumeId: string): VolumeContentSource => ({
  type: { $case: "volume", value: { volumeId } },
});

const create = (name: string, more: Partial<CreateVolumeRequest> = {}) =>
  world.run(createVolume(world.parts, createRequest(name, more), world.call));
const snap = (name: string, volume: string) =>
  world.run(createSnapshot(world.parts, snapshotRequest(name, volume), world.call));
const unsnap = (snapshotId: string) =>
  world.run(
    deleteSnapshot(world.parts, DeleteSnapshotRequest.fromPartial({ snapshotId }), world.call),
  );
const remove = (volumeId: string) =>
  world.run(deleteVolume(world.parts, DeleteVolumeRequest.fromPartial({ volumeId }), world.call));
const list = async (filter: Partial<ListSnapshotsRequest> = {}) => {
  const request = ListSnapshotsRequest.fromPartial(filter);
  const { entries } = await world.run(listSnapshots(world.parts, request, world.call));
  return entries.map(({ snapshot }) => snapshot?.snapshotId);
};
const publish = (volumeId: string, nodeId: string) => {
  const request = ControllerPublishVolumeRequest.fromPartial({ volumeId, nodeId });
  const full = { ...request, volumeCapability: mountCapability() };
  return world.run(publishVolume(world.parts, full, world.call));
};
const unpublish = (volumeId: string) => {
  const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId });
  return world.run(unpublishVolume(world.parts, request, world.call));
};

test("a snapshot of a detached volume is taken, listed, restored and deleted", async () => {
  await create("v");
  const { snapshot } = await snap("s", "v");
  expect(snapshot).toMatchObject({
    snapshotId: "s",
    sourceVolumeId: "v",
    sizeBytes: BigInt(GIB),
    readyToUse: true,
  });
  const again = await snap("s", "v");
  expect(again.snapshot?.creationTime).toEqual(snapshot?.creationTime);
  expect(await list()).toEqual(["s"]);
  expect(await list({ sourceVolumeId: "other" })).toEqual([]);
  const found = GetSnapshotRequest.fromPartial({ snapshotId: "s" });
  expect(await world.run(getSnapshot(world.parts, found, world.call))).toEqual(again);

  const larger = { requiredBytes: BigInt(2 * GIB), limitBytes: 0n };
  const restored = await create("r", {
    volumeContentSource: fromSnapshot("s"),
    capacityRange: larger,
  });
  expect(restored.volume).toMatchObject({
    capacityBytes: BigInt(2 * GIB),
    contentSource: fromSnapshot("s"),
  });
  const record = await findVolume({ ...world.context, name: "r" });
  expect(record?.parent?.sizeBytes).toBe(GIB);

  // In the worst order: each waits for what needs it, and goes when that is gone.
  await remove("v");
  await unsnap("s");
  expect(await list()).toEqual([]);
  await world.settle();
  const condition = findCondition((await world.volume("v"))?.status?.conditions, "Deletable");
  expect(condition).toMatchObject({ status: "False", reason: "NeededBy" });
  const needed = findCondition((await world.snapshot("s"))?.status?.conditions, "Deletable");
  expect(needed).toMatchObject({ reason: "NeededBy" });
  expect(needed?.message).toContain("clone: r");
  await remove("r");
  await world.settle();
  await world.clock.advance(10 * 60_000);
  expect(world.keys()).toEqual([]);
  expect(await world.volume("v")).toBeUndefined();
  expect(await world.snapshot("s")).toBeUndefined();
});

test("a clone goes through a Snapshot that nobody sees", async () => {
  await create("v");
  const clone = await create("c", { volumeContentSource: fromVolume("v") });
  expect(clone.volume?.contentSource).toEqual(fromVolume("v"));
  expect(await list()).toEqual([]);
  await world.settle();
  const { items } = await world.kube.list(SNAPSHOT, {}, world.call);
  expect(items.map(({ metadata }) => metadata.deletionTimestamp !== undefined)).toEqual([true]);
  await remove("v");
  await remove("c");
  await world.clock.advance(20 * 60_000);
  expect(world.keys()).toEqual([]);
  expect((await world.kube.list(SNAPSHOT, {}, world.call)).items).toEqual([]);
});

test("sources that are not there, not ready, or too large are refused", async () => {
  await create("v", { capacityRange: { requiredBytes: BigInt(2 * GIB), limitBytes: 0n } });
  await snap("s", "v");
  const cases: readonly [VolumeContentSource, string][] = [
    [fromSnapshot("none"), "not-found"],
    [fromSnapshot("NO NAME"), "not-found"],
    [fromVolume("none"), "not-found"],
    [fromSnapshot("s"), "out-of-range"],
    [fromVolume("v"), "out-of-range"],
    [{ type: undefined }, "invalid-argument"],
  ];
  for (const [volumeContentSource, code] of cases) {
    await expect(create("x", { volumeContentSource })).rejects.toMatchObject({ code });
  }
  const sized = { volumeContentSource: fromSnapshot("s"), capacityRange: undefined };
  expect((await create("y", sized)).volume?.capacityBytes).toBe(BigInt(2 * GIB));
  await expect(snap("t", "none")).rejects.toMatchObject({ code: "not-found" });
  await expect(snap("s", "y")).rejects.toMatchObject({ code: "name-taken" });
});

test("while a node opens a volume for a snapshot, no other node gets it", async () => {
  expectLog(/this node is idle/u);
  await create("v");
  world.idleNodes.add("n1").add("n2");
  await expect(snap("s", "v")).rejects.toMatchObject({
    code: "aborted",
    message: expect.stringContaining("this node is idle"),
  });
  const node = (await world.snapshot("s"))?.status?.node;
  const other = node === "n1" ? "n2" : "n1";
  await expect(publish("v", other)).rejects.toMatchObject({ code: "aborted" });
  await publish("v", node ?? "");
  await unpublish("v");
  world.idleNodes.clear();
  await world.settle();
  await world.clock.advance(10 * 60_000);
  expect((await snap("s", "v")).snapshot?.readyToUse).toBe(true);
  await world.settle();
  const { annotations = {} } = (await world.volume("v"))?.metadata ?? {};
  expect(annotations[ANNOTATIONS.openedFor]).toBeUndefined();
  await publish("v", other);
});

test("the node that has the volume takes its snapshots, one after the other", async () => {
  await create("v");
  await publish("v", "n2");
  const snapshots = await Promise.all([snap("a", "v"), snap("b", "v")]);
  expect(snapshots.map(({ snapshot }) => snapshot?.readyToUse)).toEqual([true, true]);
  for (const name of ["a", "b"]) {
    expect((await world.snapshot(name))?.status?.node).toBe("n2");
  }
});

test("a lost node's work goes to another one", async () => {
  expectLog(/this node is idle/u);
  await create("v");
  world.idleNodes.add("n1").add("n2");
  await expect(snap("s", "v")).rejects.toMatchObject({ code: "aborted" });
  const node = (await world.snapshot("s"))?.status?.node ?? "";
  const other = node === "n1" ? "n2" : "n1";
  world.idleNodes.delete(other);
  world.setNode(node, { ready: false });
  await world.settle();
  expect((await world.snapshot("s"))?.status).toMatchObject({ node: other, phase: "Ready" });
});

test("expanding writes the size and never shrinks", async () => {
  const expand = (volumeId: string, required: number, limit = 0) => {
    const capacityRange = { requiredBytes: BigInt(required), limitBytes: BigInt(limit) };
    const request = ControllerExpandVolumeRequest.fromPartial({ volumeId, capacityRange });
    return world.run(expandVolume(world.parts, request, world.call));
  };
  await create("v");
  expect(await expand("v", 2 * GIB)).toEqual({
    capacityBytes: BigInt(2 * GIB),
    nodeExpansionRequired: true,
  });
  expect((await expand("v", GIB)).capacityBytes).toBe(BigInt(2 * GIB));
  await expect(expand("v", GIB, GIB)).rejects.toMatchObject({ code: "out-of-range" });
  await expect(expand("v", 65 * 2 ** 40)).rejects.toMatchObject({ code: "out-of-range" });
  await expect(expand("none", GIB)).rejects.toMatchObject({ code: "not-found" });
  expect((await world.volume("v"))?.spec.size).toBe("2Gi");
});
