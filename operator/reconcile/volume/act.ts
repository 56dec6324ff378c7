// Carries out the plan for a Volume and writes its status. Every step may be repeated: names and
// uids in the bucket come from the object, and a write that needs the object as it was read carries
// its version.
import { unreachable } from "../../../core/runtime/assert.ts";
import { FAULTS, WeirError } from "../../../core/runtime/errors.ts";
import { isoSeconds } from "../../../core/runtime/iso-time.ts";
import { logFault } from "../../../core/runtime/log.ts";
import type { Outcome } from "../../../core/kube/work-queue.ts";
import { getSnapshot } from "../../../core/log/catalog.ts";
import { cloneVolume } from "../../../core/log/snapshots.ts";
import { createVolume, deleteVolume } from "../../../core/log/volumes.ts";
import { findCondition } from "../../../crds/conditions.ts";
import { SNAPSHOT, type Snapshot } from "../../../crds/snapshot.ts";
import { VOLUME, type Volume } from "../../../crds/volume.ts";
import { DRIVER } from "../../../core/csi/driver.ts";
import { CLONE_LABEL } from "../../driver.ts";
import { snapshotUidOf, volumeUidOf } from "../../names.ts";
import type { OperatorParts } from "../../parts.ts";
import { isDeleting, isReady } from "../../volume-state.ts";
import { statusToApply } from "../status-content.ts";
import {
  addFinalizer,
  applyStatus,
  LOOK_AGAIN_MS,
  Outdated,
  OUTDATED_MS,
  removeFinalizer,
  shownFault,
} from "../writing.ts";
import { gatherVolume, logContext, referringTo, type PersistentVolumes } from "./gather.ts";
import { planVolume, type VolumeAction, type VolumeState } from "./policy.ts";
import { OWNED_CONDITIONS, volumeStatus, whyNotDeleted } from "./status.ts";

export interface VolumeReconciler {
  readonly parts: OperatorParts;
  readonly persistentVolumes: PersistentVolumes;
}

export async function reconcileVolume(
  reconciler: VolumeReconciler,
  volume: Volume | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  if (volume === undefined) return { kind: "done" };
  const { parts, persistentVolumes } = reconciler;
  let state: VolumeState;
  try {
    const facts = await gatherVolume({ parts, persistentVolumes, volume, signal });
    const plan = planVolume(facts);
    for (const action of plan.actions) await act({ parts, volume, action, signal });
    ({ state } = plan);
  } catch (cause) {
    if (cause instanceof Outdated) return { kind: "again", afterMs: OUTDATED_MS };
    if (!(cause instanceof WeirError) || signal.aborted) throw cause;
    // in-use is an expected answer to a deletion, not a fault.
    const log = parts.log.child({ volume: volume.metadata.name });
    if (cause.code !== "in-use") logFault(log, cause, "a volume could not be reconciled");
    state = { kind: "failed", fault: shownFault(cause) };
  }
  if (state.kind !== "gone") await writeStatus({ ...reconciler, volume, state, signal });
  return outcomeOf(state);
}

function outcomeOf(state: VolumeState): Outcome {
  switch (state.kind) {
    case "ready":
    case "gone":
      return { kind: "done" };
    case "waiting":
    case "kept":
      return { kind: "again", afterMs: LOOK_AGAIN_MS };
    case "failed":
      return { kind: "failed" };
    default:
      return unreachable(state);
  }
}

interface Step {
  readonly parts: OperatorParts;
  readonly volume: Volume;
  readonly signal: AbortSignal;
}

async function act(options: Step & { readonly action: VolumeAction }): Promise<void> {
  const { parts, volume, action, signal } = options;
  const { name } = volume.metadata;
  const uid = volumeUidOf(volume.metadata);
  const log = logContext(parts, signal);
  const target = { api: parts.api, kind: VOLUME, object: volume, signal };
  switch (action.kind) {
    case "add-finalizer":
      return addFinalizer(target);
    case "create": {
      const { sizeBytes, record } = action;
      const parent = record?.parent;
      await createVolume({ ...log, name, uid, sizeBytes, ...(parent && { parent }) });
      return;
    }
    case "clone":
      return clone({ ...options, snapshot: action.snapshot, sizeBytes: action.sizeBytes });
    case "ensure-snapshot":
      return ensureSnapshot(options, action);
    case "drop-snapshot":
      await parts.api.delete(SNAPSHOT, { name: action.name }, { signal });
      return;
    case "delete-data":
      return deleteVolume({ ...log, uid, writer: DRIVER });
    case "remove-finalizer":
      return removeFinalizer(target);
    default:
      return unreachable(action);
  }
}

async function clone(
  options: Step & { readonly snapshot: Snapshot; readonly sizeBytes: number },
): Promise<void> {
  const { parts, volume, snapshot, sizeBytes, signal } = options;
  const log = logContext(parts, signal);
  const record = await getSnapshot({ ...log, uid: snapshotUidOf(snapshot.metadata) });
  if (record === undefined) {
    throw new WeirError("not-found", "the snapshot of the source is missing from the bucket", {
      details: { snapshot: snapshot.metadata.name },
    });
  }
  const { name } = volume.metadata;
  await cloneVolume({
    ...log,
    name,
    uid: volumeUidOf(volume.metadata),
    snapshot: record,
    sizeBytes,
  });
}

async function ensureSnapshot(
  { parts, volume, signal }: Step,
  wanted: { readonly name: string; readonly volume: string },
): Promise<void> {
  const made = await parts.api.create(
    SNAPSHOT,
    {
      metadata: { name: wanted.name, labels: { [CLONE_LABEL]: volume.metadata.name } },
      spec: { volume: wanted.volume },
    },
    { signal },
  );
  if (made.kind !== "invalid") return;
  throw new WeirError("internal", "the API server refused the Snapshot that a clone needs", {
    details: { problem: made.message },
  });
}

async function writeStatus(
  options: VolumeReconciler & Step & { readonly state: VolumeState },
): Promise<void> {
  const { parts, persistentVolumes, volume, state, signal } = options;
  const { name } = volume.metadata;
  const ours = volume.spec.persistentVolume !== undefined;
  const [persistentVolume] = ours ? referringTo(persistentVolumes, name) : [];
  const status = statusToApply({
    present: volume.status,
    content: volumeStatus({ volume, state, persistentVolume }),
    ownedConditions: OWNED_CONDITIONS,
    now: isoSeconds(parts.clock.wallMs()),
  });
  if (status === undefined) return;
  await tellPeople(options);
  await applyStatus({ api: parts.api, kind: VOLUME, object: volume, signal }, status);
}

/** Once for each new reason: a repetition of the same is no news. */
async function tellPeople({
  parts,
  volume,
  state,
  signal,
}: Step & { readonly state: VolumeState }): Promise<void> {
  const conditions = volume.status?.conditions;
  if (isDeleting(volume)) {
    const why = whyNotDeleted(state);
    if (why === undefined || findCondition(conditions, "Deletable")?.reason === why.reason) return;
    const news = { reason: why.reason, note: why.message, action: "DeleteVolume" };
    return parts.people.tell({ kind: VOLUME, object: volume }, news, signal);
  }
  if (state.kind === "ready" && !isReady(volume)) {
    const note = "The volume is in the bucket and can be attached.";
    const news = { type: "Normal" as const, reason: "Created", note, action: "CreateVolume" };
    return parts.people.tell({ kind: VOLUME, object: volume }, news, signal);
  }
  if (state.kind !== "failed") return;
  const { reason } = FAULTS[state.fault.code];
  if (findCondition(conditions, "Ready")?.reason === reason) return;
  const news = { reason, note: state.fault.message, action: "CreateVolume" };
  return parts.people.tell({ kind: VOLUME, object: volume }, news, signal);
}
