// Goal: calls that cannot succeed answer the code that CSI wants, tell the claim why, and leave
// nothing behind. Method: single calls on the operator in one process, with a store or a node as
// the case needs it.

import { afterEach, expect, test } from "vitest";
import { expectLog } from "../../test/support/log-capture.ts";
import {
  createRequest,
  GIB,
  mountCapability,
  OperatorWorld,
} from "../../test/support/operator-world.ts";
import {
  ControllerGetVolumeRequest,
  ControllerPublishVolumeRequest,
  ControllerUnpublishVolumeRequest,
  DeleteVolumeRequest,
  ListVolumesRequest,
  ValidateVolumeCapabilitiesRequest,
  VolumeCapability_AccessMode_Mode as Mode,
} from "../../core/csi/generated/csi.ts";
import { PERSISTENT_VOLUME_CLAIM } from "../../core/kube/kinds.ts";
import { createVolume as createRecord } from "../../core/log/volumes.ts";
import { FaultyStore } from "../../core/store/faulty-store.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { findCondition } from "../../crds/conditions.ts";
import { VOLUME } from "../../crds/volume.ts";
import { createVolume } from "./create-volume.ts";
import { deleteVolume } from "./delete-volume.ts";
import { publishVolume, unpublishVolume } from "./publish-volume.ts";
import { getVolume, listVolumes, validateCapabilities } from "./read-volumes.ts";

let world: OperatorWorld;

afterEach(async () => {
  await world[Symbol.asyncDispose]();
  expect(world.clock.timerCount).toBe(0);
});

const CLAIM = {
  "csi.storage.k8s.io/pvc/name": "data",
  "csi.storage.k8s.io/pvc/namespace": "default",
};

function seedClaim(): void {
  const metadata = { name: "data", namespace: "default" };
  world.kube.seed(PERSISTENT_VOLUME_CLAIM, { metadata, spec: {} });
}

const OUT_OF_SERVICE = "node.kubernetes.io/out-of-service";

const create = (name: string, more: Parameters<typeof createRequest>[1] = {}) =>
  world.run(createVolume(world.parts, createRequest(name, more), world.call));

const publish = (more: Partial<ControllerPublishVolumeRequest>) => {
  const request = { volumeId: "v", nodeId: "n1", volumeCapability: mountCapability() };
  const full = { ...ControllerPublishVolumeRequest.fromPartial({}), ...request, ...more };
  return world.run(publishVolume(world.parts, full, world.call));
};

test("a store that overwrites is not used, and everybody is told", async () => {
  expectLog(/the object store may not be used/u);
  world = new OperatorWorld({
    storeOver: (bucket): ObjectStore => ({
      label: "overwriting:",
      get: bucket.get.bind(bucket),
      list: bucket.list.bind(bucket),
      delete: bucket.delete.bind(bucket),
      create: async (key, body) => {
        bucket.overwrite(key, body);
        return { kind: "created" };
      },
      [Symbol.asyncDispose]: () => bucket[Symbol.asyncDispose](),
    }),
  });
  seedClaim();
  world.start();
  const stop = new AbortController();
  const probing = world.parts.backend.run(stop.signal);
  await world.clock.advance(100);
  stop.abort();
  await world.run(probing);
  await expect(create("v", { parameters: CLAIM })).rejects.toMatchObject({
    code: "backend-unsafe",
    message: expect.stringContaining("must not be used"),
  });
  expect(await world.volume("v")).toBeUndefined();
  // Made by hand, it says so itself.
  world.kube.seed(VOLUME, { metadata: { name: "mine" }, spec: { size: "1Gi" } });
  await world.settle();
  const ready = findCondition((await world.volume("mine"))?.status?.conditions, "Ready");
  expect(ready).toMatchObject({ status: "False", reason: "BackendUnsafe" });
  expect(ready?.message).toContain("must not be used");
  expect(world.eventReasons("PersistentVolumeClaim")).toEqual(["BackendUnsafe"]);
  expect(world.eventReasons("Volume")).toEqual(["BackendUnsafe"]);
});

test("until the store has been checked nothing is created; afterwards it is", async () => {
  world = new OperatorWorld();
  world.start();
  await expect(create("v")).rejects.toMatchObject({ code: "store-unavailable" });
  world.kube.seed(VOLUME, { metadata: { name: "mine" }, spec: { size: "1Gi" } });
  await world.clock.advance(100);
  expect((await world.volume("mine"))?.status?.phase).toBe("Failed");
  await world.run(world.parts.backend.run(world.call.signal));
  await world.clock.advance(100);
  expect((await world.volume("mine"))?.status?.phase).toBe("Ready");
});

test("a store that is down makes the call late, not wrong", async () => {
  expectLog(/a volume could not be reconciled/u);
  let faulty: FaultyStore | undefined;
  world = await OperatorWorld.started({
    storeOver: (inner) => {
      const clock = { wallMs: () => 0, monotonicMs: () => 0 };
      const idle = { ...clock, sleep: async () => undefined, deadline: () => expect.unreachable() };
      faulty = new FaultyStore({
        inner,
        clock: idle,
        random: { fraction: () => 0, hex32: () => "" },
      });
      return faulty;
    },
  });
  const fault = { kind: "refuse", code: "store-unavailable" } as const;
  faulty?.addRule({ on: "any", key: "volumes/*", fault });
  await expect(create("v")).rejects.toMatchObject({
    code: "deadline-exceeded",
    message: expect.stringContaining("not ready yet"),
  });
  expect((await world.volume("v"))?.status?.phase).toBe("Failed");
  faulty?.clearRules();
  await world.settle();
  expect((await create("v")).volume?.volumeId).toBe("v");
});

test("a request that is wrong tells the claim in one word and one sentence", async () => {
  world = await OperatorWorld.started();
  seedClaim();
  const wrong = { ...CLAIM, durabilty: "s3" };
  await expect(create("v", { parameters: wrong })).rejects.toMatchObject({
    code: "invalid-argument",
  });
  const huge = { requiredBytes: BigInt(65 * 2 ** 40), limitBytes: 0n };
  const call = create("v", { parameters: CLAIM, capacityRange: huge });
  await expect(call).rejects.toMatchObject({ code: "out-of-range" });
  const shared = [mountCapability(Mode.MULTI_NODE_MULTI_WRITER)];
  const many = create("v", { parameters: CLAIM, volumeCapabilities: shared });
  await expect(many).rejects.toMatchObject({ code: "invalid-argument" });
  await world.clock.advance(100);
  const reasons = ["ParameterUnknown", "SizeInvalid", "AccessModeUnsupported"];
  expect(world.eventReasons("PersistentVolumeClaim")).toEqual(reasons);
});

test("a failure for good takes the object away again", async () => {
  world = await OperatorWorld.started();
  await createRecord({ ...world.context, name: "v", sizeBytes: GIB });
  await expect(create("v")).rejects.toMatchObject({ code: "name-taken" });
  await world.settle();
  expect(await world.volume("v")).toBeUndefined();
  expect(world.keys()).toHaveLength(2);
});

test("attaching answers the codes of CSI", async () => {
  world = await OperatorWorld.started();
  await create("v");
  const cases: readonly [Partial<ControllerPublishVolumeRequest>, string][] = [
    [{ volumeId: "" }, "invalid-argument"],
    [{ nodeId: "" }, "invalid-argument"],
    [{ volumeCapability: undefined }, "invalid-argument"],
    [{ volumeCapability: mountCapability(Mode.MULTI_NODE_READER_ONLY) }, "invalid-argument"],
    [{ readonly: true }, "invalid-argument"],
    [{ volumeId: "none" }, "not-found"],
    [{ volumeId: "No/Name" }, "not-found"],
    [{ nodeId: "none" }, "not-found"],
  ];
  for (const [request, code] of cases) {
    await expect(publish(request)).rejects.toMatchObject({ code });
  }
  world.kube.seed(VOLUME, {
    metadata: { name: "raw" },
    spec: { size: "1Gi", source: { volume: "x" } },
  });
  await expect(publish({ volumeId: "raw" })).rejects.toMatchObject({ code: "aborted" });
  await world.settle();
  await expect(publish({ volumeId: "raw" })).rejects.toMatchObject({ code: "not-found" });
});

test("what a lost node has not uploaded is written down where it is looked for", async () => {
  world = await OperatorWorld.started();
  await create("v");
  await publish({});
  const status = { dirtyBytes: 12_288, atRiskSince: "2030-01-01T00:00:00Z" };
  await world.kube.merge(VOLUME, { name: "v" }, { status }, { ...world.call, status: true });
  const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId: "v", nodeId: "n1" });
  world.setNode("n1", {
    taints: [{ key: OUT_OF_SERVICE, effect: "NoExecute" }],
  });
  await world.run(unpublishVolume(world.parts, request, world.call));
  await world.settle();
  const volume = await world.volume("v");
  expect(volume?.status).toMatchObject({
    node: "",
    stranded: [{ node: "n1", bytes: 12_288, since: "2030-01-01T00:00:00Z" }],
  });
  const stable = findCondition(volume?.status?.conditions, "Stable");
  expect(stable).toMatchObject({ status: "False", reason: "StrandedOnNode" });
  expect(findCondition(volume?.status?.conditions, "Ready")?.status).toBe("True");
  expect(world.eventReasons("Volume")).toContain("StrandedOnNode");
});

test("of class s3, a lost node has nothing that was promised to anybody", async () => {
  world = await OperatorWorld.started();
  await create("v", { parameters: { durability: "s3" } });
  await publish({});
  const patch = { status: { dirtyBytes: 4096 } };
  await world.kube.merge(VOLUME, { name: "v" }, patch, { ...world.call, status: true });
  world.setNode("n1", { taints: [{ key: OUT_OF_SERVICE, effect: "NoExecute" }] });
  const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId: "v", nodeId: "n1" });
  await world.run(unpublishVolume(world.parts, request, world.call));
  expect((await world.volume("v"))?.status).toMatchObject({ node: "" });
  expect((await world.volume("v"))?.status?.stranded).toBeUndefined();
});

test("a node that is well has uploaded before it lets go, whatever it said last", async () => {
  world = await OperatorWorld.started();
  await create("v");
  await publish({});
  const patch = { status: { dirtyBytes: 4096 } };
  await world.kube.merge(VOLUME, { name: "v" }, patch, { ...world.call, status: true });
  const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId: "v", nodeId: "" });
  await world.run(unpublishVolume(world.parts, request, world.call));
  expect((await world.volume("v"))?.status?.stranded).toBeUndefined();
});

test("deleting and reading what is not there", async () => {
  world = await OperatorWorld.started();
  const remove = (volumeId: string) =>
    world.run(deleteVolume(world.parts, DeleteVolumeRequest.fromPartial({ volumeId }), world.call));
  await expect(remove("")).rejects.toMatchObject({ code: "invalid-argument" });
  expect(await remove("none")).toEqual({});
  expect(await remove("/no/name/")).toEqual({});
  const read = ControllerGetVolumeRequest.fromPartial({ volumeId: "none" });
  const reading = world.run(getVolume(world.parts, read, world.call));
  await expect(reading).rejects.toMatchObject({ code: "not-found" });
});

test("volumes are listed with their nodes while they are not being deleted", async () => {
  world = await OperatorWorld.started();
  const list = async () => {
    const request = ListVolumesRequest.fromPartial({});
    const { entries } = await world.run(listVolumes(world.parts, request, world.call));
    return entries.map(({ volume, status }) => [volume?.volumeId, status?.publishedNodeIds]);
  };
  await create("v");
  await create("w");
  await publish({ volumeId: "w" });
  await world.settle();
  expect(await list()).toEqual([
    ["v", []],
    ["w", ["n1"]],
  ]);
  const request = DeleteVolumeRequest.fromPartial({ volumeId: "v" });
  await world.run(deleteVolume(world.parts, request, world.call));
  expect(await list()).toEqual([["w", ["n1"]]]);
  // By hand, although a pod uses it.
  await world.kube.delete(VOLUME, { name: "w" }, world.call);
  await world.settle();
  expect(await list()).toEqual([["w", ["n1"]]]);
});

test("a capability is confirmed, or the answer says why not", async () => {
  world = await OperatorWorld.started();
  await create("v", { parameters: { durability: "s3" } });
  const validate = (more: Partial<ValidateVolumeCapabilitiesRequest>) => {
    const given = { volumeId: "v", volumeCapabilities: [mountCapability()], ...more };
    const request = { ...ValidateVolumeCapabilitiesRequest.fromPartial({}), ...given };
    return world.run(validateCapabilities(world.parts, request, world.call));
  };
  const fine = await validate({ volumeContext: { "weir.storage/durability": "s3" } });
  expect(fine.confirmed?.volumeCapabilities).toEqual([mountCapability()]);
  const shared = [mountCapability(Mode.MULTI_NODE_MULTI_WRITER)];
  for (const [more, message] of [
    [{ volumeCapabilities: shared }, /one node at a time/u],
    [{ volumeContext: { "weir.storage/durability": "local" } }, /another value/u],
    [{ parameters: { x: "y" } }, /unknown parameter "x"/u],
    [{ mutableParameters: { x: "y" } }, /"x" cannot be changed/u],
  ] as const) {
    const answer = await validate(more);
    expect(answer.confirmed).toBeUndefined();
    expect(answer.message).toMatch(message);
  }
  const refused: readonly [Partial<ValidateVolumeCapabilitiesRequest>, string][] = [
    [{ volumeId: "" }, "invalid-argument"],
    [{ volumeCapabilities: [] }, "invalid-argument"],
    [{ volumeId: "none" }, "not-found"],
  ];
  for (const [more, code] of refused) {
    await expect(validate(more)).rejects.toMatchObject({ code });
  }
});
