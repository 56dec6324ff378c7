// CreateSnapshot, DeleteSnapshot, ListSnapshots, GetSnapshot. As with volumes, the object is made
// or deleted here and everything else is the reconciler's and the node's; a snapshot that takes
// longer than we wait is answered as not ready, and polled for.
import {
  CreateSnapshotResponse,
  GetSnapshotResponse,
  ListSnapshotsResponse,
  type CreateSnapshotRequest,
  type DeleteSnapshotRequest,
  type GetSnapshotRequest,
  type ListSnapshotsRequest,
} from "../../core/csi/generated/csi.ts";
import { WeirError, type FaultCode } from "../../core/runtime/errors.ts";
import { findCondition } from "../../crds/conditions.ts";
import { SNAPSHOT, type Snapshot } from "../../crds/snapshot.ts";
import { VOLUME } from "../../crds/volume.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { ANNOTATIONS, CLONE_LABEL } from "../driver.ts";
import { snapshotNameFor } from "../names.ts";
import { codeOf, finalFault, isDeleting, isReady } from "../volume-state.ts";
import { snapshotAnswer } from "./answers.ts";
import { deleteObject } from "./delete-volume.ts";
import { pageOf } from "./pages.ts";
import { checkSnapshotParameters } from "./parameters.ts";
import {
  isOver,
  missing,
  objectNameOf,
  required,
  SNAPSHOT_MS,
  type RpcCall,
  type ServiceParts,
} from "./service-parts.ts";

/** What no waiting and no mending by anybody changes: the others pass, or can be mended. */
const HOPELESS: ReadonlySet<FaultCode> = new Set(["not-found", "invalid-argument", "name-taken"]);

export async function createSnapshot(
  parts: ServiceParts,
  request: CreateSnapshotRequest,
  call: RpcCall,
): Promise<CreateSnapshotResponse> {
  const name = snapshotNameFor(required(request.name, "name"));
  const volumeId = required(request.sourceVolumeId, "source_volume_id");
  checkSnapshotParameters(request.parameters);
  await parts.backend.check(call.signal);
  const snapshot = await parts.inFlight.run({ kind: "snapshot", name, what: "created" }, async () =>
    untilReady(parts, await findOrMake(parts, { name, volumeId, call }), call),
  );
  return CreateSnapshotResponse.fromPartial({ snapshot: snapshotAnswer(snapshot) });
}

export async function deleteSnapshot(
  parts: ServiceParts,
  request: DeleteSnapshotRequest,
  call: RpcCall,
): Promise<object> {
  const name = objectNameOf(required(request.snapshotId, "snapshot_id"));
  if (name === undefined) return {};
  await parts.inFlight.run({ kind: "snapshot", name, what: "deleted" }, async () => {
    const object = await parts.api.get(SNAPSHOT, { name }, call);
    if (object === undefined) return;
    await deleteObject(parts, { kind: SNAPSHOT, object, copy: parts.snapshots, call });
  });
  return {};
}

export async function listSnapshots(
  parts: ServiceParts,
  request: ListSnapshotsRequest,
  call: RpcCall,
): Promise<ListSnapshotsResponse> {
  const found =
    request.snapshotId === ""
      ? await allSnapshots(parts, call)
      : [await findSnapshot(parts, request.snapshotId, call)].filter((one) => one !== undefined);
  const { sourceVolumeId } = request;
  const wanted = found.filter(
    ({ spec }) => sourceVolumeId === "" || spec.volume === sourceVolumeId,
  );
  const { entries, nextToken } = pageOf(wanted, request);
  return ListSnapshotsResponse.fromPartial({
    entries: entries.map((snapshot) => ({ snapshot: snapshotAnswer(snapshot) })),
    nextToken,
  });
}

export async function getSnapshot(
  parts: ServiceParts,
  request: GetSnapshotRequest,
  call: RpcCall,
): Promise<GetSnapshotResponse> {
  const id = required(request.snapshotId, "snapshot_id");
  const snapshot = await findSnapshot(parts, id, call);
  if (snapshot === undefined) throw missing("snapshot", id);
  return GetSnapshotResponse.fromPartial({ snapshot: snapshotAnswer(snapshot) });
}

/** Not those that stand between a volume and its clone: nobody but us knows of them. */
async function allSnapshots(parts: ServiceParts, call: RpcCall): Promise<readonly Snapshot[]> {
  await parts.snapshots.synced(call.signal);
  return parts.snapshots
    .items()
    .filter(
      (snapshot) => !isDeleting(snapshot) && snapshot.metadata.labels?.[CLONE_LABEL] === undefined,
    );
}

async function findSnapshot(
  parts: ServiceParts,
  id: string,
  call: RpcCall,
): Promise<Snapshot | undefined> {
  const name = objectNameOf(id);
  const found = name === undefined ? undefined : await parts.api.get(SNAPSHOT, { name }, call);
  return found === undefined || isDeleting(found) ? undefined : found;
}

async function findOrMake(
  parts: ServiceParts,
  wanted: { readonly name: string; readonly volumeId: string; readonly call: RpcCall },
): Promise<Snapshot> {
  const { name, volumeId, call } = wanted;
  const present = await parts.api.get(SNAPSHOT, { name }, call);
  if (present !== undefined) return sameSnapshot(present, volumeId);
  const volume = objectNameOf(volumeId);
  const source =
    volume === undefined ? undefined : await parts.api.get(VOLUME, { name: volume }, call);
  if (source === undefined || isDeleting(source)) throw missing("volume", volumeId);
  const metadata = { name, annotations: { [ANNOTATIONS.provisionedBy]: DRIVER } };
  const made = await parts.api.create(SNAPSHOT, { metadata, spec: { volume } }, call);
  switch (made.kind) {
    case "created":
      return made.object;
    case "exists":
      throw new WeirError("aborted", "another call is creating the snapshot: try again");
    case "invalid":
    default:
      throw new WeirError("invalid-argument", `the API server refused it: ${made.message}`);
  }
}

function sameSnapshot(present: Snapshot, volumeId: string): Snapshot {
  if (isDeleting(present)) {
    throw new WeirError("aborted", "the former snapshot of this name is still being deleted");
  }
  if (present.spec.volume === volumeId) return present;
  const message = "a snapshot of this name exists already, but of another volume";
  throw new WeirError("name-taken", message, { details: { volume: present.spec.volume } });
}

async function untilReady(
  parts: ServiceParts,
  snapshot: Snapshot,
  call: RpcCall,
): Promise<Snapshot> {
  const { name, uid } = snapshot.metadata;
  using signal = parts.clock.deadline(SNAPSHOT_MS, call.signal);
  const isOurs = (seen: Snapshot | undefined): seen is Snapshot => seen?.metadata.uid === uid;
  let seen: Snapshot | undefined;
  try {
    seen = await parts.snapshots.when(
      name,
      (now) => isOurs(now) && (isReady(now) || isDeleting(now) || hopeless(now) !== undefined),
      signal,
    );
  } catch (cause) {
    if (!isOver(cause, call)) throw cause;
    const late = parts.snapshots.get(name);
    refuseFailed(late);
    return isOurs(late) ? late : snapshot;
  }
  if (!isOurs(seen) || isDeleting(seen)) {
    throw new WeirError("aborted", "the snapshot was deleted while it was being taken");
  }
  const fault = isReady(seen) ? undefined : hopeless(seen);
  if (fault === undefined) return seen;
  // The snapshotter forgets it after this, so nobody would ever delete it.
  if (seen.metadata.annotations?.[ANNOTATIONS.provisionedBy] === DRIVER) {
    await parts.api.delete(SNAPSHOT, { name, uid }, call);
  }
  throw fault;
}

function hopeless(snapshot: Snapshot): WeirError | undefined {
  const fault = finalFault(snapshot);
  return fault !== undefined && HOPELESS.has(fault.code) ? fault : undefined;
}

/** Shown instead of "not ready", so that the reason reaches the VolumeSnapshot; it is retried. */
function refuseFailed(snapshot: Snapshot | undefined): void {
  const ready = findCondition(snapshot?.status?.conditions, "Ready");
  if (ready?.status !== "False" || codeOf(ready.reason) === undefined) return;
  throw new WeirError("aborted", `the snapshot could not be taken yet: ${ready.message}`);
}
