// What is to be done for a Volume, decided from facts alone: no call, no clock. The same facts give
// the same plan, and a plan that was carried out in part gives, from the new facts, the rest.
//
// Order matters: the finalizer stands before anything is in the bucket, and goes after everything
// is out of it. A clone of a volume goes through a Snapshot of its own, which may go as soon as the
// clone has begun: the bucket keeps what the clone shares.
import type { FaultCode } from "../../../core/runtime/errors.ts";
import type { VolumeRecord } from "../../../core/log/records.ts";
import { unreachable } from "../../../core/runtime/assert.ts";
import { quantityBytes } from "../../../crds/quantity.ts";
import type { Snapshot } from "../../../crds/snapshot.ts";
import type { Volume } from "../../../crds/volume.ts";
import { cloneSnapshotName, volumeUidOf } from "../../names.ts";
import {
  attachedNode,
  hasFinalizer,
  isDeleting,
  isReady,
  sizeBytesOf,
  type Shown,
} from "../../volume-state.ts";

export interface VolumeFacts {
  readonly volume: Volume;
  /** Why the store may not be used. */
  readonly backend: Shown | undefined;
  /** The volume in the bucket; looked up only while it is not ready. */
  readonly record: VolumeRecord | undefined;
  /** The Snapshot named by the source, or the one a clone is made through. */
  readonly sourceSnapshot: Snapshot | undefined;
  /** The Volume named by the source. */
  readonly sourceVolume: Volume | undefined;
  /** Snapshots of this volume that exist or are being taken. */
  readonly snapshotNames: readonly string[];
  /** PersistentVolumes with this volume's handle. */
  readonly persistentVolumeNames: readonly string[];
}

export type VolumeAction =
  | { readonly kind: "add-finalizer" }
  | { readonly kind: "create"; readonly sizeBytes: number; readonly record?: VolumeRecord }
  | { readonly kind: "clone"; readonly snapshot: Snapshot; readonly sizeBytes: number }
  | { readonly kind: "ensure-snapshot"; readonly name: string; readonly volume: string }
  | { readonly kind: "drop-snapshot"; readonly name: string }
  | { readonly kind: "delete-data" }
  | { readonly kind: "remove-finalizer" };

/** What the volume is when the plan's actions are done. */
export type VolumeState =
  | { readonly kind: "ready" }
  /** Nothing is wrong; what it waits for wakes it. */
  | { readonly kind: "waiting"; readonly reason: string; readonly message: string }
  | { readonly kind: "failed"; readonly fault: Shown }
  | { readonly kind: "kept"; readonly reason: string; readonly message: string }
  | { readonly kind: "gone" };

export interface VolumePlan {
  readonly actions: readonly VolumeAction[];
  readonly state: VolumeState;
}

export function planVolume(facts: VolumeFacts): VolumePlan {
  if (isDeleting(facts.volume)) return planDeletion(facts);
  const finalizer: readonly VolumeAction[] = hasFinalizer(facts.volume)
    ? []
    : [{ kind: "add-finalizer" }];
  const { actions, state } = isReady(facts.volume) ? planReady(facts) : planCreation(facts);
  return { actions: [...finalizer, ...actions], state };
}

/** Once ready, only a store that may not be used at all makes it unready. */
function planReady(facts: VolumeFacts): VolumePlan {
  const { backend, sourceSnapshot } = facts;
  if (backend?.code === "backend-unsafe") return failed(backend);
  const isLeft = sourceSnapshot !== undefined && !isDeleting(sourceSnapshot);
  const isOwn = sourceSnapshot?.metadata.name === ownSnapshot(facts);
  return { actions: isLeft && isOwn ? dropped(facts) : [], state: { kind: "ready" } };
}

function planCreation(facts: VolumeFacts): VolumePlan {
  const { volume, backend, record } = facts;
  const { source } = volume.spec;
  if (backend !== undefined) return failed(backend);
  if (record !== undefined) {
    // A crash came between the record and the name. The record's own size counts: spec may have
    // grown since, and growing is the node's part.
    const again: VolumeAction = { kind: "create", sizeBytes: record.sizeBytes, record };
    return { actions: [again, ...dropped(facts)], state: { kind: "ready" } };
  }
  if (source === undefined) {
    const create: VolumeAction = { kind: "create", sizeBytes: sizeBytesOf(volume) };
    return { actions: [create], state: { kind: "ready" } };
  }
  return "snapshot" in source
    ? planRestore(facts, source.snapshot)
    : planClone(facts, source.volume);
}

function planRestore(facts: VolumeFacts, name: string): VolumePlan {
  const { sourceSnapshot } = facts;
  if (sourceSnapshot === undefined || isDeleting(sourceSnapshot)) {
    return failed(absent(`the Snapshot "${name}" of the source does not exist: create it first`));
  }
  return planFrom(facts, sourceSnapshot);
}

function planClone(facts: VolumeFacts, name: string): VolumePlan {
  const { sourceVolume, sourceSnapshot } = facts;
  if (sourceSnapshot !== undefined) return planFrom(facts, sourceSnapshot);
  if (sourceVolume === undefined || isDeleting(sourceVolume)) {
    return failed(absent(`the Volume "${name}" of the source does not exist: create it first`));
  }
  if (!isReady(sourceVolume)) {
    return waiting("WaitingForSource", `the Volume "${name}" of the source is not ready yet`);
  }
  const snapshot = cloneSnapshotName(facts.volume.metadata);
  return {
    actions: [{ kind: "ensure-snapshot", name: snapshot, volume: name }],
    state: waitingForSnapshot(snapshot),
  };
}

function planFrom(facts: VolumeFacts, snapshot: Snapshot): VolumePlan {
  const sizeBytes = sizeBytesOf(facts.volume);
  if (isDeleting(snapshot) || !isReady(snapshot)) {
    return { actions: [], state: waitingForSnapshot(snapshot.metadata.name) };
  }
  const { size } = snapshot.status ?? {};
  if (size !== undefined && sizeBytes < quantityBytes(size)) {
    return failed({
      code: "out-of-range",
      message: `the volume must not be smaller than its source: ask for ${size} or more`,
    });
  }
  return {
    actions: [{ kind: "clone", snapshot, sizeBytes }, ...dropped(facts)],
    state: { kind: "ready" },
  };
}

function planDeletion(facts: VolumeFacts): VolumePlan {
  const { volume, backend, snapshotNames, persistentVolumeNames } = facts;
  if (!hasFinalizer(volume)) return { actions: [], state: { kind: "gone" } };
  const node = attachedNode(volume);
  if (node !== undefined) {
    return kept("InUse", `the volume is attached to node "${node}": stop the pods that use it`);
  }
  const [persistentVolume] = persistentVolumeNames;
  if (persistentVolume !== undefined) {
    return kept(
      "InUse",
      `the PersistentVolume "${persistentVolume}" refers to it: delete that one`,
    );
  }
  const gone: VolumePlan = {
    actions: [...dropped(facts), { kind: "remove-finalizer" }],
    state: { kind: "gone" },
  };
  switch (volume.spec.deletionPolicy) {
    case "Retain":
      return gone;
    case "Delete":
      break;
    default:
      return unreachable(volume.spec.deletionPolicy);
  }
  const [snapshot] = snapshotNames;
  if (snapshot !== undefined) {
    return kept("NeededBy", `the Snapshot "${snapshot}" needs its data: delete that one first`);
  }
  if (backend !== undefined) return failed(backend);
  return { ...gone, actions: [{ kind: "delete-data" }, ...gone.actions] };
}

/** The Snapshot that a clone is made through has done its work. */
function dropped(facts: VolumeFacts): readonly VolumeAction[] {
  const name = ownSnapshot(facts);
  return name === undefined ? [] : [{ kind: "drop-snapshot", name }];
}

function ownSnapshot({ volume }: VolumeFacts): string | undefined {
  const { source } = volume.spec;
  const isClone = source !== undefined && "volume" in source;
  return isClone ? cloneSnapshotName(volume.metadata) : undefined;
}

/** Known before anything is in the bucket, so status may name it in any state. */
export function bucketUidOf(volume: Volume): string {
  return volumeUidOf(volume.metadata);
}

function absent(message: string): Shown {
  return { code: "not-found" satisfies FaultCode, message };
}

function failed(fault: Shown): VolumePlan {
  return { actions: [], state: { kind: "failed", fault } };
}

function waiting(reason: string, message: string): VolumePlan {
  return { actions: [], state: { kind: "waiting", reason, message } };
}

function waitingForSnapshot(name: string): VolumeState {
  const message = `the Snapshot "${name}" is not ready yet`;
  return { kind: "waiting", reason: "WaitingForSnapshot", message };
}

function kept(reason: string, message: string): VolumePlan {
  return { actions: [], state: { kind: "kept", reason, message } };
}
