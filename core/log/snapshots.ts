// Snapshots and clones. A snapshot names a position and the checkpoint that holds the map there,
// for ever (I7). A clone is a volume whose log begins at such a checkpoint: it costs the same few
// requests whatever the size.
//
// A clone and the deletion of its snapshot may run at the same time: the deletion takes the
// snapshot's name entry away before it looks for clones, the clone looks for the entry after it is
// in the bucket. So at least one of the two sees the other. In the same way a snapshot looks for
// its volume's record at the end.

import { WeirError } from "../runtime/errors.ts";
import { asNonce, asSnapshotUid } from "../runtime/ids.ts";
import type { Position, SnapshotUid, VolumeUid } from "../runtime/ids.ts";
import { corrupt, naming } from "./byte-fields.ts";
import { getSnapshot, getVolume, listVolumes } from "./catalog.ts";
import type { CheckpointPlace } from "./checkpoint-codec.ts";
import { decodeCheckpointHeader } from "./checkpoint-codec.ts";
import type { LogContext } from "./context.ts";
import { deleteObject, getObject } from "./context.ts";
import { createOwned } from "./create-object.ts";
import {
  checkName,
  checkpointKey,
  snapshotKey,
  snapshotNameKey,
  volumeKey,
  volumeNameKey,
} from "./keys.ts";
import { CHECKPOINT_HEADER_BYTES } from "./limits.ts";
import { claimName, lookUpName, releaseName } from "./names.ts";
import type { SnapshotRecord, VolumeRecord } from "./records.ts";
import { decodeSnapshotRecord, encodeRecord } from "./records.ts";
import { createOrFindVolume } from "./volumes.ts";

export interface NewSnapshot {
  readonly name: string;
  /** Never used before. With it a repeated call finds its own work; without, one is made up. */
  readonly uid?: SnapshotUid;
  readonly volume: { readonly uid: VolumeUid };
  /** The cut: committed. */
  readonly position: Position;
  /** Holds the map at the cut; a parent's, for a clone that has not changed. */
  readonly checkpoint: CheckpointPlace;
  readonly sizeBytes: number;
}

/** Names a position for ever. The caller has committed up to it and written its checkpoint. */
export async function createSnapshot(options: LogContext & NewSnapshot): Promise<SnapshotRecord> {
  const { name, volume } = options;
  checkName(name);
  await checkCheckpoint(options);
  const { record, isNew } = await createRecord(options);
  const claim = await claimName({
    ...options,
    key: snapshotNameKey(name),
    uid: record.uid,
    ownerExists: async (owner) => {
      const uid = asSnapshotUid(owner);
      return (await getSnapshot({ ...options, uid })) !== undefined;
    },
  });
  if (claim.kind === "taken") {
    if (isNew) await deleteObject({ ...options, key: snapshotKey(record.uid) });
    throw new WeirError("name-taken", "another snapshot has this name: choose another one", {
      details: { name, owner: claim.uid },
    });
  }
  if ((await getVolume({ ...options, uid: volume.uid })) !== undefined) return record;
  await removeSnapshot(options, record);
  throw new WeirError("not-found", "the volume was deleted while its snapshot was taken", {
    details: { volume: volume.uid },
  });
}

/** The snapshot of that name, or undefined. */
export async function findSnapshot(
  options: LogContext & { readonly name: string },
): Promise<SnapshotRecord | undefined> {
  const uid = await lookUpName({ ...options, key: snapshotNameKey(options.name) });
  return uid === undefined ? undefined : getSnapshot({ ...options, uid: asSnapshotUid(uid) });
}

/**
 * Deletes a snapshot; an absent one is fine. Refused with `in-use` while a clone's record names it.
 */
export async function deleteSnapshot(
  options: LogContext & { readonly uid: SnapshotUid },
): Promise<void> {
  const record = await getSnapshot(options);
  if (record === undefined) return;
  await refuseWhileCloned(options, record);
  const key = snapshotNameKey(record.name);
  await releaseName({ ...options, key });
  try {
    await refuseWhileCloned(options, record);
  } catch (cause) {
    await restoreName(options, record);
    throw cause;
  }
  await deleteObject({ ...options, key: snapshotKey(record.uid) });
}

/** Creates a volume that begins as the snapshot is; at the same size, or larger. */
export async function cloneVolume(
  options: LogContext & {
    readonly name: string;
    readonly uid?: VolumeUid;
    readonly snapshot: SnapshotRecord;
    readonly sizeBytes?: number;
  },
): Promise<VolumeRecord> {
  const { snapshot } = options;
  const { record, isNew } = await createOrFindVolume({
    ...options,
    sizeBytes: options.sizeBytes ?? snapshot.sizeBytes,
    parent: {
      volume: snapshot.volume,
      snapshot: snapshot.uid,
      checkpoint: snapshot.checkpoint,
      sizeBytes: snapshot.sizeBytes,
    },
  });
  const owner = await lookUpName({ ...options, key: snapshotNameKey(snapshot.name) });
  if (owner === snapshot.uid) return record;
  // An older clone may be in use; only the operator can tell what to do with it.
  if (isNew) await removeNewVolume(options, record);
  throw new WeirError(
    isNew ? "not-found" : "aborted",
    "the snapshot is being deleted, so the clone could not be made",
    { details: { snapshot: snapshot.uid, name: snapshot.name } },
  );
}

interface CreatedSnapshot {
  readonly record: SnapshotRecord;
  readonly isNew: boolean;
}

async function createRecord(options: LogContext & NewSnapshot): Promise<CreatedSnapshot> {
  const { clock, random, name, volume, position, checkpoint, sizeBytes } = options;
  const uid = options.uid ?? asSnapshotUid(random.hex32());
  const record: SnapshotRecord = {
    format: 1,
    uid,
    name,
    volume: volume.uid,
    position: { epoch: position.epoch, seq: position.seq },
    checkpoint: { volume: checkpoint.volume, epoch: checkpoint.epoch, seq: checkpoint.seq },
    sizeBytes,
    createdAtMs: clock.wallMs(),
    nonce: asNonce(random.hex32()),
  };
  const key = snapshotKey(uid);
  const outcome = await createOwned({ ...options, key, bytes: encodeRecord(record) });
  if (outcome.kind === "created") return { record, isNew: true };
  // The first call's cut counts: a snapshot never moves, so a repeated call gets that one.
  const present = naming(key, () => decodeSnapshotRecord(outcome.bytes));
  if (present.name === name && present.volume === volume.uid)
    return { record: present, isNew: false };
  throw new WeirError(
    "name-taken",
    "a snapshot with this uid exists already, but of another volume",
    {
      details: { uid, name: present.name, volume: present.volume },
    },
  );
}

/** A snapshot never names a checkpoint that is absent (I5). */
async function checkCheckpoint(context: LogContext & NewSnapshot): Promise<void> {
  const { checkpoint } = context;
  const key = checkpointKey(checkpoint);
  const range = { offset: 0, length: CHECKPOINT_HEADER_BYTES };
  const found = await getObject({ ...context, key, range });
  if (found.kind === "absent") throw corrupt("it is missing from the bucket", { key });
  naming(key, () => decodeCheckpointHeader(found.bytes, checkpoint));
}

async function refuseWhileCloned(context: LogContext, snapshot: SnapshotRecord): Promise<void> {
  const { scans, signal } = context;
  const volumes = await (scans?.volumes(signal) ?? listVolumes(context));
  const clone = volumes.find(({ parent }) => parent?.snapshot === snapshot.uid);
  if (clone === undefined) return;
  throw new WeirError("in-use", "clones of the snapshot share its data: delete them first", {
    details: { snapshot: snapshot.name, clone: clone.name },
  });
}

async function restoreName(context: LogContext, snapshot: SnapshotRecord): Promise<void> {
  await claimName({
    ...context,
    key: snapshotNameKey(snapshot.name),
    uid: snapshot.uid,
    ownerExists: async () => true,
  });
}

async function removeSnapshot(context: LogContext, record: SnapshotRecord): Promise<void> {
  const key = snapshotNameKey(record.name);
  await releaseName({ ...context, key, uid: record.uid });
  await deleteObject({ ...context, key: snapshotKey(record.uid) });
}

async function removeNewVolume(context: LogContext, record: VolumeRecord): Promise<void> {
  await deleteObject({ ...context, key: volumeKey(record.uid) });
  await releaseName({ ...context, key: volumeNameKey(record.name), uid: record.uid });
}
