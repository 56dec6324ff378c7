// Carries out the plan for a Snapshot and writes its status. The Volume is marked before the node
// is named, and unmarked after the node is done: a crash in between leaves the mark, which the next
// look takes away.
import { unreachable } from "../../../core/runtime/assert.ts";
import { FAULTS, WeirError } from "../../../core/runtime/errors.ts";
import { isoSeconds } from "../../../core/runtime/iso-time.ts";
import { logFault } from "../../../core/runtime/log.ts";
import type { Outcome } from "../../../core/kube/work-queue.ts";
import { deleteSnapshot } from "../../../core/log/snapshots.ts";
import { findCondition } from "../../../crds/conditions.ts";
import { SNAPSHOT, type Snapshot } from "../../../crds/snapshot.ts";
import { VOLUME, type Volume } from "../../../crds/volume.ts";
import { ANNOTATIONS } from "../../driver.ts";
import { snapshotUidOf } from "../../names.ts";
import type { CsiNodes } from "../../nodes.ts";
import type { OperatorParts } from "../../parts.ts";
import { isDeleting } from "../../volume-state.ts";
import { statusToApply } from "../status-content.ts";
import { logContext } from "../volume/gather.ts";
import {
  addFinalizer,
  applyStatus,
  LOOK_AGAIN_MS,
  Outdated,
  OUTDATED_MS,
  refuseOutdated,
  removeFinalizer,
  shownFault,
} from "../writing.ts";
import { gatherSnapshot } from "./gather.ts";
import { planSnapshot, type SnapshotAction, type SnapshotState } from "./policy.ts";
import { OWNED_CONDITIONS, snapshotStatus, whyNotDeleted } from "./status.ts";

export interface SnapshotReconciler {
  readonly parts: OperatorParts;
  readonly csiNodes: CsiNodes;
}

interface Step {
  readonly parts: OperatorParts;
  readonly snapshot: Snapshot;
  readonly signal: AbortSignal;
}

export async function reconcileSnapshot(
  { parts, csiNodes }: SnapshotReconciler,
  snapshot: Snapshot | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  if (snapshot === undefined) return { kind: "done" };
  const step = { parts, snapshot, signal };
  let state: SnapshotState;
  try {
    const facts = await gatherSnapshot({ ...step, csiNodes });
    const plan = planSnapshot(facts);
    for (const action of plan.actions) await act({ ...step, action });
    ({ state } = plan);
  } catch (cause) {
    if (cause instanceof Outdated) return { kind: "again", afterMs: OUTDATED_MS };
    if (!(cause instanceof WeirError) || signal.aborted) throw cause;
    const log = parts.log.child({ snapshot: snapshot.metadata.name });
    if (cause.code !== "in-use") logFault(log, cause, "a snapshot could not be reconciled");
    state = { kind: "failed", fault: shownFault(cause) };
  }
  if (state.kind !== "gone") await writeStatus({ ...step, state });
  return outcomeOf(state);
}

function outcomeOf(state: SnapshotState): Outcome {
  switch (state.kind) {
    case "ready":
    case "gone":
      return { kind: "done" };
    case "assigned":
    case "waiting":
    case "kept":
      return { kind: "again", afterMs: LOOK_AGAIN_MS };
    case "failed":
      return { kind: "failed" };
    default:
      return unreachable(state);
  }
}

async function act(options: Step & { readonly action: SnapshotAction }): Promise<void> {
  const { parts, snapshot, action, signal } = options;
  const target = { api: parts.api, kind: SNAPSHOT, object: snapshot, signal };
  switch (action.kind) {
    case "add-finalizer":
      return addFinalizer(target);
    case "mark-volume":
      return mark(options, { volume: action.volume, name: snapshot.metadata.name });
    case "unmark-volume":
      return mark(options, { volume: action.volume, name: null });
    case "delete-data": {
      const uid = snapshotUidOf(snapshot.metadata);
      return deleteSnapshot({ ...logContext(parts, signal), uid });
    }
    case "remove-finalizer":
      return removeFinalizer(target);
    default:
      return unreachable(action);
  }
}

async function mark(
  { parts, signal }: Step,
  { volume, name }: { readonly volume: Volume; readonly name: string | null },
): Promise<void> {
  const { resourceVersion } = volume.metadata;
  const patch = { metadata: { resourceVersion, annotations: { [ANNOTATIONS.openedFor]: name } } };
  const ref = { name: volume.metadata.name };
  const written = await parts.api.merge(VOLUME, ref, patch, { signal });
  if (written.kind === "absent" && name === null) return;
  refuseOutdated(written, "mark of a Volume");
}

async function writeStatus(step: Step & { readonly state: SnapshotState }): Promise<void> {
  const { parts, snapshot, state, signal } = step;
  const status = statusToApply({
    present: snapshot.status,
    content: snapshotStatus(snapshot, state),
    ownedConditions: OWNED_CONDITIONS,
    now: isoSeconds(parts.clock.wallMs()),
  });
  if (status === undefined) return;
  await tellPeople(step);
  await applyStatus({ api: parts.api, kind: SNAPSHOT, object: snapshot, signal }, status);
}

/** Once for each new reason. */
async function tellPeople(step: Step & { readonly state: SnapshotState }): Promise<void> {
  const { parts, snapshot, state, signal } = step;
  const about = { kind: SNAPSHOT, object: snapshot };
  const conditions = snapshot.status?.conditions;
  if (isDeleting(snapshot)) {
    const why = whyNotDeleted(state);
    if (why === undefined || findCondition(conditions, "Deletable")?.reason === why.reason) return;
    const news = { reason: why.reason, note: why.message, action: "DeleteSnapshot" };
    return parts.people.tell(about, news, signal);
  }
  if (state.kind === "ready") {
    const note = "The snapshot is in the bucket.";
    const news = { type: "Normal" as const, reason: "SnapshotReady", note, action: "TakeSnapshot" };
    return parts.people.tell(about, news, signal);
  }
  if (state.kind !== "failed") return;
  const { reason } = FAULTS[state.fault.code];
  if (findCondition(conditions, "Ready")?.reason === reason) return;
  const news = { reason, note: state.fault.message, action: "TakeSnapshot" };
  return parts.people.tell(about, news, signal);
}
