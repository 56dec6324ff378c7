// What is to be done for a Snapshot, decided from facts alone. A node takes it: the one that the
// volume is attached to, else any. While a node may be opening the volume for it, the Volume is
// marked (`openedFor`), and ControllerPublish gives the volume to no other node: two nodes that
// open one volume would fence each other.
import { findCondition, hasCondition } from "../../../crds/conditions.ts";
import type { Snapshot } from "../../../crds/snapshot.ts";
import type { Volume } from "../../../crds/volume.ts";
import { ANNOTATIONS } from "../../driver.ts";
import { attachedNode, hasFinalizer, isDeleting, isReady, type Shown } from "../../volume-state.ts";

export interface SnapshotFacts {
  readonly snapshot: Snapshot;
  readonly volume: Volume | undefined;
  readonly backend: Shown | undefined;
  /** Whether the node that it is assigned to can be counted on; true when there is none. */
  readonly isNodeUsable: boolean;
  /** A node for a volume that is attached nowhere. */
  readonly freeNode: string | undefined;
  /** The other Snapshot for which the volume is marked still needs it. */
  readonly isOtherBeingTaken: boolean;
  /** A node has had all the time there is to notice that the Snapshot is to go. */
  readonly isGraceOver: boolean;
}

export type SnapshotAction =
  | { readonly kind: "add-finalizer" }
  /** Both: refused when the Volume is not as it was read. */
  | { readonly kind: "mark-volume"; readonly volume: Volume }
  | { readonly kind: "unmark-volume"; readonly volume: Volume }
  | { readonly kind: "delete-data" }
  | { readonly kind: "remove-finalizer" };

export type SnapshotState =
  | { readonly kind: "ready" }
  | { readonly kind: "assigned"; readonly node: string }
  | { readonly kind: "waiting"; readonly reason: string; readonly message: string }
  | { readonly kind: "failed"; readonly fault: Shown }
  | { readonly kind: "kept"; readonly reason: string; readonly message: string }
  | { readonly kind: "gone" };

export interface SnapshotPlan {
  readonly actions: readonly SnapshotAction[];
  readonly state: SnapshotState;
}

/** What a node says of a Snapshot that it will not take, because it is being deleted. */
const GIVEN_UP = "Deleting";

export function planSnapshot(facts: SnapshotFacts): SnapshotPlan {
  if (isDeleting(facts.snapshot)) return planDeletion(facts);
  const finalizer: readonly SnapshotAction[] = hasFinalizer(facts.snapshot)
    ? []
    : [{ kind: "add-finalizer" }];
  const { actions, state } = isTaken(facts.snapshot) ? planTaken(facts) : planTaking(facts);
  return { actions: [...finalizer, ...actions], state };
}

export function isTaken({ status }: Snapshot): boolean {
  return hasCondition(status?.conditions, { type: "Taken", status: "True" });
}

export function assignedNode({ status }: Snapshot): string | undefined {
  const node = status?.node ?? "";
  return node === "" ? undefined : node;
}

/** A node may be opening the volume for it. */
export function isBeingTaken(snapshot: Snapshot): boolean {
  const taken = findCondition(snapshot.status?.conditions, "Taken");
  if (taken?.status === "True") return false;
  return !(isDeleting(snapshot) && taken?.reason === GIVEN_UP);
}

function planTaken(facts: SnapshotFacts): SnapshotPlan {
  return { actions: unmark(facts), state: { kind: "ready" } };
}

function planTaking(facts: SnapshotFacts): SnapshotPlan {
  const { snapshot, volume, backend, isOtherBeingTaken } = facts;
  const { name } = snapshot.metadata;
  if (backend?.code === "backend-unsafe") return failed(backend);
  if (volume === undefined || (isDeleting(volume) && assignedNode(snapshot) === undefined)) {
    const message = `the Volume "${snapshot.spec.volume}" does not exist: name one that does`;
    return failed({ code: "not-found", message });
  }
  if (!isReady(volume)) {
    const message = `the Volume "${snapshot.spec.volume}" is not ready yet`;
    return waiting("WaitingForVolume", message);
  }
  const holder = volume.metadata.annotations?.[ANNOTATIONS.openedFor];
  if (holder !== undefined && holder !== name && isOtherBeingTaken) {
    return waiting("WaitingForSnapshot", `the Snapshot "${holder}" of the volume comes first`);
  }
  const node = nodeFor(facts, volume);
  if (node === undefined) {
    return waiting("WaitingForNode", "no node that is ready runs the driver: start one");
  }
  const mark: readonly SnapshotAction[] = holder === name ? [] : [{ kind: "mark-volume", volume }];
  return { actions: mark, state: { kind: "assigned", node } };
}

/** A node keeps the work until it cannot be counted on: it may be in the middle of it. */
function nodeFor(facts: SnapshotFacts, volume: Volume): string | undefined {
  const assigned = assignedNode(facts.snapshot);
  if (assigned !== undefined && facts.isNodeUsable) return assigned;
  return attachedNode(volume) ?? facts.freeNode;
}

function planDeletion(facts: SnapshotFacts): SnapshotPlan {
  const { snapshot, backend, isNodeUsable, isGraceOver } = facts;
  if (!hasFinalizer(snapshot)) return { actions: [], state: { kind: "gone" } };
  const node = assignedNode(snapshot);
  if (node !== undefined && isBeingTaken(snapshot) && isNodeUsable && !isGraceOver) {
    // Deleted now, its object could come into the bucket afterwards, and nobody would know it.
    return kept("BeingTaken", `node "${node}" is taking it and has to finish or give up first`);
  }
  const gone: SnapshotPlan = {
    actions: [...unmark(facts), { kind: "remove-finalizer" }],
    state: { kind: "gone" },
  };
  if (snapshot.spec.deletionPolicy === "Retain") return gone;
  if (backend !== undefined) return failed(backend);
  return { ...gone, actions: [{ kind: "delete-data" }, ...gone.actions] };
}

function unmark({ snapshot, volume }: SnapshotFacts): readonly SnapshotAction[] {
  const holder = volume?.metadata.annotations?.[ANNOTATIONS.openedFor];
  const isOurs = volume !== undefined && holder === snapshot.metadata.name;
  return isOurs ? [{ kind: "unmark-volume", volume }] : [];
}

function failed(fault: Shown): SnapshotPlan {
  return { actions: [], state: { kind: "failed", fault } };
}

function waiting(reason: string, message: string): SnapshotPlan {
  return { actions: [], state: { kind: "waiting", reason, message } };
}

function kept(reason: string, message: string): SnapshotPlan {
  return { actions: [], state: { kind: "kept", reason, message } };
}
