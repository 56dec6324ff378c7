// Goal: for every combination of facts the plan is the right one: the finalizer before anything in
// the bucket, nothing deleted that is needed, nothing kept that is not. Method: tables of facts and
// the plan that must come out, in words.

import { describe, expect, test } from "vitest";
import type { VolumeRecord } from "../../../core/log/records.ts";
import { asNonce, asVolumeUid } from "../../../core/runtime/ids.ts";
import { SNAPSHOT, type Snapshot } from "../../../crds/snapshot.ts";
import { VOLUME, type Volume } from "../../../crds/volume.ts";
import { planVolume, type VolumeFacts } from "./policy.ts";

const UID = "00000000-0000-4000-8000-0000000000aa";
const FINALIZERS = ["weir.storage/data"];
const CLONE_SNAPSHOT = "clone-000000000000";

interface Given {
  readonly metadata?: object;
  readonly spec?: object;
  readonly status?: object;
}

const condition = (type: string, status: "True" | "False", reason = "Because") => ({
  type,
  status,
  reason,
  message: "m",
  lastTransitionTime: "2030-01-01T00:00:00Z",
  observedGeneration: 1,
});
const READY = { conditions: [condition("Ready", "True")] };

function volume({ metadata = {}, spec = {}, status }: Given = {}): Volume {
  return VOLUME.parse({
    metadata: {
      name: "v",
      uid: UID,
      resourceVersion: "1",
      generation: 1,
      finalizers: FINALIZERS,
      ...metadata,
    },
    spec: { size: "1Gi", ...spec },
    ...(status === undefined ? {} : { status }),
  });
}

function snapshot({ metadata = {}, status = {} }: Given = {}): Snapshot {
  return SNAPSHOT.parse({
    metadata: { name: "s", uid: UID, resourceVersion: "1", finalizers: FINALIZERS, ...metadata },
    spec: { volume: "source" },
    status,
  });
}

const DELETED = { deletionTimestamp: "2030-01-01T00:00:00Z" };
const record: VolumeRecord = {
  format: 1,
  uid: asVolumeUid("a".repeat(32)),
  name: "v",
  sizeBytes: 4096,
  createdAtMs: 0,
  nonce: asNonce("b".repeat(32)),
};
const unsafe = { code: "backend-unsafe", message: "it overwrites" } as const;
const unavailable = { code: "store-unavailable", message: "no answer" } as const;

/** The plan in words: actions, then the state and its reason or fault. */
function plan(facts: Partial<VolumeFacts>): string {
  const { actions, state } = planVolume({
    volume: volume(),
    backend: undefined,
    record: undefined,
    sourceSnapshot: undefined,
    sourceVolume: undefined,
    snapshotNames: [],
    persistentVolumeNames: [],
    ...facts,
  });
  const why = "reason" in state ? ` ${state.reason}` : "";
  const fault = "fault" in state ? ` ${state.fault.code}` : "";
  return [...actions.map(({ kind }) => kind), state.kind + why + fault].join(", ");
}

const clone = (status?: object): Volume =>
  volume({ spec: { source: { volume: "source" } }, ...(status === undefined ? {} : { status }) });
const restored = (size = "1Gi"): Volume => volume({ spec: { size, source: { snapshot: "s" } } });
const own = (given: Given = {}): Snapshot =>
  snapshot({ ...given, metadata: { name: CLONE_SNAPSHOT, ...given.metadata } });

describe("creation", () => {
  const cases: readonly [string, Partial<VolumeFacts>, string][] = [
    ["new", { volume: volume({ metadata: { finalizers: [] } }) }, "add-finalizer, create, ready"],
    ["with its finalizer", {}, "create, ready"],
    ["the store is unsafe", { backend: unsafe }, "failed backend-unsafe"],
    ["the store does not answer", { backend: unavailable }, "failed store-unavailable"],
    ["half made before a crash", { record }, "create, ready"],
    ["ready", { volume: volume({ status: READY }) }, "ready"],
    [
      "ready, the store does not answer",
      { volume: volume({ status: READY }), backend: unavailable },
      "ready",
    ],
    [
      "ready, the store became unsafe",
      { volume: volume({ status: READY }), backend: unsafe },
      "failed backend-unsafe",
    ],
    ["no snapshot to restore", { volume: restored() }, "failed not-found"],
    [
      "the snapshot is being deleted",
      { volume: restored(), sourceSnapshot: snapshot({ metadata: DELETED, status: READY }) },
      "failed not-found",
    ],
    [
      "the snapshot is not ready",
      { volume: restored(), sourceSnapshot: snapshot() },
      "waiting WaitingForSnapshot",
    ],
    [
      "the snapshot is ready",
      { volume: restored(), sourceSnapshot: snapshot({ status: { ...READY, size: "1Gi" } }) },
      "clone, ready",
    ],
    [
      "the snapshot is larger",
      { volume: restored(), sourceSnapshot: snapshot({ status: { ...READY, size: "2Gi" } }) },
      "failed out-of-range",
    ],
    ["no volume to clone", { volume: clone() }, "failed not-found"],
    [
      "the volume to clone is being deleted",
      { volume: clone(), sourceVolume: volume({ metadata: DELETED, status: READY }) },
      "failed not-found",
    ],
    [
      "the volume to clone is not ready",
      { volume: clone(), sourceVolume: volume() },
      "waiting WaitingForSource",
    ],
    [
      "the volume to clone is ready",
      { volume: clone(), sourceVolume: volume({ status: READY }) },
      "ensure-snapshot, waiting WaitingForSnapshot",
    ],
    [
      "the clone's snapshot is under way",
      { volume: clone(), sourceSnapshot: own() },
      "waiting WaitingForSnapshot",
    ],
    [
      "the clone's snapshot is ready",
      { volume: clone(), sourceSnapshot: own({ status: READY }) },
      "clone, drop-snapshot, ready",
    ],
    [
      "a crash came between the clone and its status",
      { volume: clone(), record, sourceSnapshot: own({ status: READY }) },
      "create, drop-snapshot, ready",
    ],
    [
      "the clone is ready, its snapshot is still there",
      { volume: clone(READY), sourceSnapshot: own({ status: READY }) },
      "drop-snapshot, ready",
    ],
    [
      "the clone is ready, its snapshot is going",
      { volume: clone(READY), sourceSnapshot: own({ metadata: DELETED, status: READY }) },
      "ready",
    ],
  ];
  test.each(cases)("%s", (_name, facts, expected) => {
    expect(plan(facts)).toBe(expected);
  });
});

describe("deletion", () => {
  const going = (given: Given = {}): Volume =>
    volume({ ...given, metadata: { ...DELETED, ...given.metadata } });
  const retained = { spec: { deletionPolicy: "Retain" } };
  const cases: readonly [string, Partial<VolumeFacts>, string][] = [
    ["never begun", { volume: going({ metadata: { finalizers: [] } }) }, "gone"],
    ["free", { volume: going() }, "delete-data, remove-finalizer, gone"],
    ["attached", { volume: going({ status: { node: "n" } }) }, "kept InUse"],
    ["claimed", { volume: going(), persistentVolumeNames: ["pv"] }, "kept InUse"],
    ["with snapshots", { volume: going(), snapshotNames: ["s"] }, "kept NeededBy"],
    ["the store is unsafe", { volume: going(), backend: unsafe }, "failed backend-unsafe"],
    ["retained", { volume: going(retained) }, "remove-finalizer, gone"],
    [
      "retained, with snapshots and no store",
      { volume: going(retained), snapshotNames: ["s"], backend: unavailable },
      "remove-finalizer, gone",
    ],
    [
      "retained, but attached",
      { volume: going({ ...retained, status: { node: "n" } }) },
      "kept InUse",
    ],
    [
      "a clone",
      { volume: going({ spec: { source: { volume: "source" } } }) },
      "delete-data, drop-snapshot, remove-finalizer, gone",
    ],
  ];
  test.each(cases)("%s", (_name, facts, expected) => {
    expect(plan(facts)).toBe(expected);
  });
});
