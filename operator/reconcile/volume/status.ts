// The status of a Volume as the operator writes it, from the state that it came to.
import { unreachable } from "../../../core/runtime/assert.ts";
import { findCondition, type ConditionContent } from "../../../crds/conditions.ts";
import type { Volume, VolumePhase } from "../../../crds/volume.ts";
import { attachedNode, isDeleting, isReady } from "../../volume-state.ts";
import { because, type Reason, type StatusContent } from "../status-content.ts";
import { bucketUidOf, type VolumeState } from "./policy.ts";

export const OWNED_CONDITIONS = ["Ready", "Attached", "Deletable"] as const;

export function volumeStatus(options: {
  readonly volume: Volume;
  readonly state: VolumeState;
  /** The PersistentVolume that the operator made for it. */
  readonly persistentVolume: string | undefined;
}): StatusContent {
  const { volume, state, persistentVolume } = options;
  const { generation } = volume.metadata;
  const about = generation === undefined ? {} : { observedGeneration: generation };
  return {
    fields: {
      ...about,
      observedGeneration: generation,
      phase: phaseOf(volume, state),
      uid: state.kind === "ready" ? bucketUidOf(volume) : volume.status?.uid,
      persistentVolume,
    },
    conditions: [readiness(volume, state), attachment(volume), ...deletability(volume, state)].map(
      (condition) => ({ ...condition, ...about }),
    ),
  };
}

function phaseOf(volume: Volume, state: VolumeState): VolumePhase {
  if (isDeleting(volume)) return "Deleting";
  switch (state.kind) {
    case "ready":
    case "kept":
    case "gone":
      return attachedNode(volume) === undefined ? "Ready" : "Attached";
    case "waiting":
      return "Pending";
    case "failed":
      return "Failed";
    default:
      return unreachable(state);
  }
}

function readiness(volume: Volume, state: VolumeState): ConditionContent {
  if (isDeleting(volume)) {
    const before = findCondition(volume.status?.conditions, "Ready");
    const { reason, message } = before ?? { reason: "Deleting", message: "It is being deleted." };
    return { type: "Ready", status: isReady(volume) ? "True" : "False", reason, message };
  }
  switch (state.kind) {
    case "ready":
    case "kept":
    case "gone":
      return {
        type: "Ready",
        status: "True",
        reason: "Created",
        message: "The volume is in the bucket and can be attached.",
      };
    case "waiting":
      return { type: "Ready", status: "False", reason: state.reason, message: state.message };
    case "failed":
      return { type: "Ready", status: "False", ...because(state.fault) };
    default:
      return unreachable(state);
  }
}

function attachment(volume: Volume): ConditionContent {
  const node = attachedNode(volume);
  return node === undefined
    ? { type: "Attached", status: "False", reason: "Detached", message: "No node has it." }
    : { type: "Attached", status: "True", reason: "Attached", message: `Node "${node}" has it.` };
}

function deletability(volume: Volume, state: VolumeState): readonly ConditionContent[] {
  if (!isDeleting(volume)) return [];
  const why = whyNotDeleted(state);
  if (why === undefined) return [];
  return [{ type: "Deletable", status: "False", ...why }];
}

export function whyNotDeleted(state: VolumeState): Reason | undefined {
  switch (state.kind) {
    case "kept":
      return { reason: state.reason, message: state.message };
    case "failed":
      // The bucket alone knows of volumes that are not in this cluster.
      return state.fault.code === "in-use"
        ? { reason: "NeededBy", message: state.fault.message }
        : because(state.fault);
    case "ready":
    case "waiting":
    case "gone":
      return undefined;
    default:
      return unreachable(state);
  }
}
