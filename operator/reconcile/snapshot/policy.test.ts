// Goal: a snapshot gets one node, keeps it while that can be counted on, and is deleted only when
// no node can still be taking it. Method: tables of facts and the plan that must come out.

import { describe, expect, test } from "vitest";
import { SNAPSHOT, type Snapshot } from "../../../crds/snapshot.ts";
import { VOLUME, type Volume } from "../../../crds/volume.ts";
import { planSnapshot, type SnapshotFacts } from "./policy.ts";

const UID = "00000000-0000-4000-8000-0000000000aa";
const FINALIZERS = ["weir.storage/data"];
const DELETED = { deletionTimestamp: "2030-01-01T00:00:00Z" };
const MARK = "weir.storage/opened-for-snapshot";

const condition = (type: string, status: "True" | "False", reason = "Because") => ({
  type,
  status,
  reason,
  message: "m",
  lastTransitionTime: "2030-01-01T00:00:00Z",
});
const READY = condition("Ready", "True");
const TAKEN = condition("Taken", "True");

function volume(given: { node?: string; mark?: string; metadata?: object } = {}): Volume {
  const annotations = given.mark === undefined ? {} : { [MARK]: given.mark };
  return VOLUME.parse({
    metadata: { name: "v", uid: UID, resourceVersion: "1", annotations, ...given.metadata },
    spec: { size: "1Gi" },
    status: { conditions: [READY], node: given.node ?? "" },
  });
}

function snapshot(given: { metadata?: object; spec?: object; status?: object } = {}): Snapshot {
  return SNAPSHOT.parse({
    metadata: {
      name: "s",
      uid: UID,
      resourceVersion: "1",
      finalizers: FINALIZERS,
      ...given.metadata,
    },
    spec: { volume: "v", ...given.spec },
    ...(given.status === undefined ? {} : { status: given.status }),
  });
}

function plan(facts: Partial<SnapshotFacts>): string {
  const { actions, state } = planSnapshot({
    snapshot: snapshot(),
    volume: volume(),
    backend: undefined,
    isNodeUsable: true,
    freeNode: "free",
    isOtherBeingTaken: false,
    isGraceOver: false,
    ...facts,
  });
  const why = "reason" in state ? ` ${state.reason}` : "";
  const fault = "fault" in state ? ` ${state.fault.code}` : "";
  const node = "node" in state ? ` ${state.node}` : "";
  return [...actions.map(({ kind }) => kind), state.kind + why + fault + node].join(", ");
}

const unsafe = { code: "backend-unsafe", message: "it overwrites" } as const;

describe("taking", () => {
  const bare = snapshot({ metadata: { finalizers: [] } });
  const onN1 = snapshot({ status: { node: "n1" } });
  const cases: readonly [string, Partial<SnapshotFacts>, string][] = [
    ["new", { snapshot: bare }, "add-finalizer, mark-volume, assigned free"],
    ["the volume is attached", { volume: volume({ node: "n" }) }, "mark-volume, assigned n"],
    ["marked, not assigned yet", { volume: volume({ mark: "s" }) }, "assigned free"],
    ["assigned", { snapshot: onN1, volume: volume({ mark: "s" }) }, "assigned n1"],
    [
      "assigned, and the volume was attached there and left",
      { snapshot: onN1, volume: volume({ mark: "s" }), freeNode: undefined },
      "assigned n1",
    ],
    [
      "the node is lost",
      { snapshot: onN1, volume: volume({ mark: "s" }), isNodeUsable: false },
      "assigned free",
    ],
    [
      "the node is lost, the volume has come to another",
      { snapshot: onN1, volume: volume({ mark: "s", node: "n2" }), isNodeUsable: false },
      "assigned n2",
    ],
    ["no node", { freeNode: undefined }, "waiting WaitingForNode"],
    [
      "another snapshot is being taken",
      { volume: volume({ mark: "t" }), isOtherBeingTaken: true },
      "waiting WaitingForSnapshot",
    ],
    ["another one left its mark", { volume: volume({ mark: "t" }) }, "mark-volume, assigned free"],
    ["no volume", { volume: undefined }, "failed not-found"],
    ["the volume is going", { volume: volume({ metadata: DELETED }) }, "failed not-found"],
    ["the store is unsafe", { backend: unsafe }, "failed backend-unsafe"],
    ["taken", { snapshot: snapshot({ status: { conditions: [TAKEN] } }) }, "ready"],
    [
      "taken, and the mark is there",
      { snapshot: snapshot({ status: { conditions: [TAKEN] } }), volume: volume({ mark: "s" }) },
      "unmark-volume, ready",
    ],
    [
      "taken, and the volume is gone",
      { snapshot: snapshot({ status: { conditions: [TAKEN] } }), volume: undefined },
      "ready",
    ],
  ];
  test.each(cases)("%s", (_name, facts, expected) => {
    expect(plan(facts)).toBe(expected);
  });
});

describe("deletion", () => {
  const going = (given: Parameters<typeof snapshot>[0] = {}): Snapshot =>
    snapshot({ ...given, metadata: { ...DELETED, ...given.metadata } });
  const taking = going({ status: { node: "n1" } });
  const all = "delete-data, remove-finalizer, gone";
  const cases: readonly [string, Partial<SnapshotFacts>, string][] = [
    ["never begun", { snapshot: going({ metadata: { finalizers: [] } }) }, "gone"],
    ["not assigned", { snapshot: going() }, all],
    ["being taken", { snapshot: taking }, "kept BeingTaken"],
    ["being taken, the node is lost", { snapshot: taking, isNodeUsable: false }, all],
    ["being taken, for too long", { snapshot: taking, isGraceOver: true }, all],
    [
      "the node failed before",
      {
        snapshot: going({
          status: { node: "n1", conditions: [condition("Taken", "False", "StoreUnavailable")] },
        }),
      },
      "kept BeingTaken",
    ],
    [
      "the node gave up",
      {
        snapshot: going({
          status: { node: "n1", conditions: [condition("Taken", "False", "Deleting")] },
        }),
      },
      all,
    ],
    ["taken", { snapshot: going({ status: { node: "n1", conditions: [TAKEN] } }) }, all],
    [
      "marked",
      { snapshot: going(), volume: volume({ mark: "s" }) },
      "delete-data, unmark-volume, remove-finalizer, gone",
    ],
    [
      "retained",
      { snapshot: going({ spec: { deletionPolicy: "Retain" } }) },
      "remove-finalizer, gone",
    ],
    ["the store is unsafe", { snapshot: going(), backend: unsafe }, "failed backend-unsafe"],
  ];
  test.each(cases)("%s", (_name, facts, expected) => {
    expect(plan(facts)).toBe(expected);
  });
});
