// The status of a Snapshot as the operator writes it, from the state that it came to. What the node
// says (condition Taken) is the node's; Ready repeats why it is not taken, because that is where
// people and programs look.
import { unreachable } from "../../../core/runtime/assert.ts";
import { findCondition, type ConditionContent } from "../../../crds/conditions.ts";
import type { Snapshot, SnapshotPhase } from "../../../crds/snapshot.ts";
import { isDeleting } from "../../volume-state.ts";
import { because, type Reason, type StatusContent } from "../status-content.ts";
import { assignedNode, isTaken, type SnapshotState } from "./policy.ts";

export const OWNED_CONDITIONS = ["Ready", "Deletable"] as const;

export function snapshotStatus(snapshot: Snapshot, state: SnapshotState): StatusContent {
  const { generation } = snapshot.metadata;
  const about = generation === undefined ? {} : { observedGeneration: generation };
  return {
    fields: {
      observedGeneration: generation,
      phase: phaseOf(snapshot, state),
      node: state.kind === "assigned" ? state.node : assignedNode(snapshot),
    },
    conditions: [readiness(snapshot, state), ...deletability(snapshot, state)].map((condition) => ({
      ...condition,
      ...about,
    })),
  };
}

function phaseOf(snapshot: Snapshot, state: SnapshotState): SnapshotPhase {
  if (isDeleting(snapshot)) return "Deleting";
  switch (state.kind) {
    case "ready":
    case "kept":
    case "gone":
      return "Ready";
    case "assigned":
      return notTaken(snapshot) === undefined ? "Pending" : "Failed";
    case "waiting":
      return "Pending";
    case "failed":
      return "Failed";
    default:
      return unreachable(state);
  }
}

function readiness(snapshot: Snapshot, state: SnapshotState): ConditionContent {
  if (isDeleting(snapshot) || state.kind === "ready") {
    return isTaken(snapshot)
      ? { type: "Ready", status: "True", reason: "Taken", message: "It is in the bucket." }
      : { type: "Ready", status: "False", reason: "Deleting", message: "It is being deleted." };
  }
  switch (state.kind) {
    case "assigned": {
      const message = `Node "${state.node}" takes it.`;
      const why = notTaken(snapshot) ?? { reason: "Taking", message };
      return { type: "Ready", status: "False", ...why };
    }
    case "waiting":
    case "kept":
      return { type: "Ready", status: "False", reason: state.reason, message: state.message };
    case "failed":
      return { type: "Ready", status: "False", ...because(state.fault) };
    case "gone":
      return { type: "Ready", status: "False", reason: "Deleting", message: "It is gone." };
    default:
      return unreachable(state);
  }
}

function notTaken(snapshot: Snapshot): Reason | undefined {
  const taken = findCondition(snapshot.status?.conditions, "Taken");
  if (taken?.status !== "False") return undefined;
  return { reason: taken.reason, message: taken.message };
}

function deletability(snapshot: Snapshot, state: SnapshotState): readonly ConditionContent[] {
  const why = isDeleting(snapshot) ? whyNotDeleted(state) : undefined;
  return why === undefined ? [] : [{ type: "Deletable", status: "False", ...why }];
}

export function whyNotDeleted(state: SnapshotState): Reason | undefined {
  switch (state.kind) {
    case "kept":
      return { reason: state.reason, message: state.message };
    case "failed":
      return state.fault.code === "in-use"
        ? { reason: "NeededBy", message: state.fault.message }
        : because(state.fault);
    case "ready":
    case "assigned":
    case "waiting":
    case "gone":
      return undefined;
    default:
      return unreachable(state);
  }
}
