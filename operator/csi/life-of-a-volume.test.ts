// Goal: a volume lives from CreateVolume to DeleteVolume through object, bucket and attachment, and
// leaves nothing. Method: the CSI functions and the reconcilers together over a fake API server and
// a bucket in memory; what is there is read back from both.

import { afterEach, beforeEach, expect, test } from "vitest";
import {
  ControllerPublishVolumeRequest,
  ControllerUnpublishVolumeRequest,
  DeleteVolumeRequest,
} from "../../core/csi/generated/csi.ts";
import { findVolume } from "../../core/log/volumes.ts";
import { VOLUME } from "../../crds/volume.ts";
import {
  createRequest,
  GIB,
  mountCapability,
  OperatorWorld,
} from "../../test/support/operator-world.ts";
import { createVolume } from "./create-volume.ts";
import { deleteVolume } from "./delete-volume.ts";
import { publishVolume, unpublishVolume } from "./publish-volume.ts";

let world: OperatorWorld;

beforeEach(async () => {
  world = await OperatorWorld.started();
});

afterEach(async () => {
  await world[Symbol.asyncDispose]();
  expect(world.clock.timerCount).toBe(0);
});

function publish(volumeId: string, nodeId: string) {
  const request = ControllerPublishVolumeRequest.fromPartial({ volumeId, nodeId });
  const full = { ...request, volumeCapability: mountCapability() };
  return world.run(publishVolume(world.parts, full, world.call));
}

function unpublish(volumeId: string, nodeId: string) {
  const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId, nodeId });
  return world.run(unpublishVolume(world.parts, request, world.call));
}

function remove(volumeId: string) {
  const request = DeleteVolumeRequest.fromPartial({ volumeId });
  return world.run(deleteVolume(world.parts, request, world.call));
}

test("create, attach, detach, delete", async () => {
  const parameters = { durability: "s3", maxDirtyAge: "2s", "csi.storage.k8s.io/pvc/name": "data" };
  const request = createRequest("pvc-1", { parameters });
  const { volume } = await world.run(createVolume(world.parts, request, world.call));
  expect(volume).toMatchObject({
    volumeId: "pvc-1",
    capacityBytes: BigInt(GIB),
    volumeContext: { "weir.storage/durability": "s3", "weir.storage/maxDirtyAge": "2s" },
  });
  const object = await world.volume("pvc-1");
  expect(object?.metadata.labels).toEqual({ "weir.storage/pvc-name": "data" });
  expect(object?.metadata.finalizers).toEqual(["weir.storage/data"]);
  const record = await findVolume({ ...world.context, name: "pvc-1" });
  expect(record?.uid).toBe(object?.metadata.uid.replaceAll("-", ""));
  expect(object?.status).toMatchObject({ phase: "Ready", uid: record?.uid });

  await publish("pvc-1", "n1");
  await publish("pvc-1", "n1");
  await world.settle();
  expect((await world.volume("pvc-1"))?.status).toMatchObject({ node: "n1", phase: "Attached" });
  await expect(publish("pvc-1", "n2")).rejects.toMatchObject({ code: "in-use" });
  await expect(remove("pvc-1")).rejects.toMatchObject({ code: "in-use" });
  await unpublish("pvc-1", "n2");
  expect((await world.volume("pvc-1"))?.status?.node).toBe("n1");
  await unpublish("pvc-1", "n1");
  await unpublish("pvc-1", "n1");
  await publish("pvc-1", "n2");
  await unpublish("pvc-1", "");

  await remove("pvc-1");
  await remove("pvc-1");
  await world.settle();
  expect(await world.volume("pvc-1")).toBeUndefined();
  expect(world.keys()).toEqual([]);
});

test("the same request again finds its volume, another one of that name is refused", async () => {
  const first = await world.run(createVolume(world.parts, createRequest("a"), world.call));
  const again = await world.run(createVolume(world.parts, createRequest("a"), world.call));
  expect(again).toEqual(first);
  for (const other of [
    { capacityRange: { requiredBytes: BigInt(2 * GIB), limitBytes: 0n } },
    { capacityRange: { requiredBytes: 0n, limitBytes: BigInt(GIB / 2) } },
    { parameters: { durability: "s3" } },
  ]) {
    const call = world.run(createVolume(world.parts, createRequest("a", other), world.call));
    await expect(call).rejects.toMatchObject({ code: "name-taken" });
  }
  expect((await world.kube.list(VOLUME, {}, world.call)).items).toHaveLength(1);
});
