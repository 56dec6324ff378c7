// Goal: a Volume made by hand gets the PersistentVolume it asks for, and loses it only while nobody
// depends on it. Method: the reconcilers over a fake API server, and what is there afterwards.

import { afterEach, beforeEach, expect, test } from "vitest";
import { expectLog } from "../../../test/support/log-capture.ts";
import { OperatorWorld } from "../../../test/support/operator-world.ts";
import { PERSISTENT_VOLUME, type PersistentVolume } from "../../../core/kube/kinds.ts";
import { findCondition } from "../../../crds/conditions.ts";
import { VOLUME } from "../../../crds/volume.ts";

let world: OperatorWorld;

beforeEach(async () => {
  world = await OperatorWorld.started();
});

afterEach(async () => {
  await world[Symbol.asyncDispose]();
  expect(world.clock.timerCount).toBe(0);
});

async function make(persistentVolume: object): Promise<void> {
  const spec = { size: "2Gi", durability: "s3", persistentVolume };
  await world.kube.create(VOLUME, { metadata: { name: "mine" }, spec }, world.call);
  await world.settle();
}

function read(name = "mine"): Promise<PersistentVolume | undefined> {
  return world.kube.get(PERSISTENT_VOLUME, { name }, world.call);
}

async function bind(phase: string): Promise<void> {
  const how = { ...world.call, status: true };
  await world.kube.merge(PERSISTENT_VOLUME, { name: "mine" }, { status: { phase } }, how);
}

async function erase(): Promise<void> {
  await world.kube.delete(VOLUME, { name: "mine" }, world.call);
  await world.settle();
}

test("it looks like one of the provisioner's", async () => {
  await make({ claimRef: { namespace: "default", name: "data" }, fsType: "xfs" });
  expect(await read()).toMatchObject({
    metadata: {
      labels: { "weir.storage/volume": "mine" },
      annotations: { "pv.kubernetes.io/provisioned-by": "csi.weir.storage" },
    },
    spec: {
      capacity: { storage: "2Gi" },
      accessModes: ["ReadWriteOnce"],
      persistentVolumeReclaimPolicy: "Retain",
      volumeMode: "Filesystem",
      claimRef: { namespace: "default", name: "data" },
      csi: {
        driver: "csi.weir.storage",
        volumeHandle: "mine",
        fsType: "xfs",
        volumeAttributes: { "weir.storage/durability": "s3" },
      },
    },
  });
  expect((await world.volume("mine"))?.status?.persistentVolume).toBe("mine");
});

test("it grows with the volume until it is bound", async () => {
  await make({ volumeMode: "Block" });
  expect((await read())?.spec.csi?.fsType).toBeUndefined();
  const grow = async (size: string) => {
    await world.kube.merge(VOLUME, { name: "mine" }, { spec: { size } }, world.call);
    await world.settle();
    return (await read())?.spec.capacity?.["storage"];
  };
  expect(await grow("3Gi")).toBe("3Gi");
  await bind("Bound");
  expect(await grow("4Gi")).toBe("3Gi");
});

test("unused it goes with the volume", async () => {
  await make({});
  await erase();
  expect(await read()).toBeUndefined();
  expect(await world.volume("mine")).toBeUndefined();
  expect(world.keys()).toEqual([]);
});

test("bound it holds the volume until it is deleted", async () => {
  await make({});
  await bind("Bound");
  await erase();
  const volume = await world.volume("mine");
  expect(findCondition(volume?.status?.conditions, "Deletable")).toMatchObject({
    status: "False",
    reason: "InUse",
    message: expect.stringContaining('"mine"'),
  });
  expect(world.eventReasons("Volume")).toContain("InUse");
  expect(world.keys()).not.toEqual([]);
  await world.kube.delete(PERSISTENT_VOLUME, { name: "mine" }, world.call);
  await world.settle();
  expect(await world.volume("mine")).toBeUndefined();
  expect(world.keys()).toEqual([]);
});

test("no more wanted, it goes; another volume's of that name is left alone", async () => {
  await make({});
  const patch = { spec: { persistentVolume: null } };
  await world.kube.merge(VOLUME, { name: "mine" }, patch, world.call);
  await world.settle();
  expect(await read()).toBeUndefined();
  const foreign = { metadata: { name: "mine" }, spec: { accessModes: [] } };
  world.kube.seed(PERSISTENT_VOLUME, foreign);
  await world.kube.merge(VOLUME, { name: "mine" }, { spec: { persistentVolume: {} } }, world.call);
  await world.settle();
  expect((await read())?.metadata.labels).toBeUndefined();
  expect(world.eventReasons("Volume")).toContain("NameTaken");
});

test("a refused PersistentVolume is tried again", async () => {
  expectLog(/a reconcile failed/u);
  const create = world.kube.create.bind(world.kube);
  let refusals = 2;
  world.kube.create = async (kind, object, call) => {
    if (kind.kind !== "PersistentVolume" || refusals === 0) return create(kind, object, call);
    refusals -= 1;
    return { kind: "invalid", message: "planted" };
  };
  await make({});
  expect(await read()).toBeDefined();
});
