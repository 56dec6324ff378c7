// Volumes as objects of the bucket: creating, finding, deleting. The volume record makes a volume
// exist; it is written before the name entry and deleted before everything else, so whatever a
// crash leaves behind is garbage without a record, or a name entry that the next claim replaces.
//
// Only the operator creates and deletes, one call per volume at a time.

import { WeirError } from "../runtime/errors.ts";
import { asNonce, asSeq, asVolumeUid } from "../runtime/ids.ts";
import type { VolumeUid } from "../runtime/ids.ts";
import { naming } from "./byte-fields.ts";
import { getVolume, listSnapshots, listVolumes } from "./catalog.ts";
import { findCheckpoint } from "./checkpoints.ts";
import type { LogContext } from "./context.ts";
import { deleteObject, listAll, listFirst, mapParallel } from "./context.ts";
import { createOwned } from "./create-object.ts";
import { claimEpoch, findNewestEpoch } from "./epochs.ts";
import {
  checkName,
  epochsPrefix,
  logPrefix,
  volumeKey,
  volumeNameKey,
  volumePrefix,
} from "./keys.ts";
import { BLOCK_BYTES, VOLUME_BYTES_MAX } from "./limits.ts";
import { claimName, lookUpName, releaseName } from "./names.ts";
import type { ParentRecord, VolumeRecord } from "./records.ts";
import { decodeVolumeRecord, encodeRecord } from "./records.ts";
import { sealOlderEpochs } from "./sealing.ts";

export interface NewVolume {
  readonly name: string;
  /** Never used before. With it a repeated call finds its own work; without, one is made up. */
  readonly uid?: VolumeUid;
  readonly sizeBytes: number;
  readonly parent?: ParentRecord;
}

export interface CreatedVolume {
  readonly record: VolumeRecord;
  /** false: it was there already, from an earlier call with the same uid. */
  readonly isNew: boolean;
}

/** Creates a volume, or finds the one that an earlier call with the same uid created. */
export async function createVolume(options: LogContext & NewVolume): Promise<VolumeRecord> {
  return (await createOrFindVolume(options)).record;
}

export async function createOrFindVolume(options: LogContext & NewVolume): Promise<CreatedVolume> {
  checkName(options.name);
  checkSize(options);
  const volume = await createRecord(options);
  const { record } = volume;
  const claim = await claimName({
    ...options,
    key: volumeNameKey(record.name),
    uid: record.uid,
    ownerExists: async (owner) => {
      const uid = asVolumeUid(owner);
      return (await getVolume({ ...options, uid })) !== undefined;
    },
  });
  if (claim.kind === "ours") return volume;
  // A made-up uid is known to nobody else, so its record can go again without a trace.
  if (options.uid === undefined) await deleteObject({ ...options, key: volumeKey(record.uid) });
  throw new WeirError("name-taken", "another volume has this name: choose another one", {
    details: { name: record.name, owner: claim.uid },
  });
}

/** The volume of that name, or undefined. */
export async function findVolume(
  options: LogContext & { readonly name: string },
): Promise<VolumeRecord | undefined> {
  const uid = await lookUpName({ ...options, key: volumeNameKey(options.name) });
  return uid === undefined ? undefined : getVolume({ ...options, uid: asVolumeUid(uid) });
}

/**
 * Deletes a volume and everything in it; an absent one is fine. Refused with `in-use` while a
 * snapshot of it or a clone needs it. Its writer, if there still is one, is fenced first.
 */
export async function deleteVolume(
  options: LogContext & { readonly uid: VolumeUid; readonly writer: string },
): Promise<void> {
  const { uid } = options;
  const record = await getVolume({ ...options, uid });
  if (record !== undefined) {
    await refuseWhileNeeded(options);
    await fenceWriter(options);
    await deleteObject({ ...options, key: volumeKey(uid) });
    await restoreWhenNeeded(options, record);
    await releaseName({ ...options, key: volumeNameKey(record.name), uid });
  }
  await deleteContents(options);
}

/** Writes the volume record, or finds the one that is there for the same uid. */
async function createRecord(options: LogContext & NewVolume): Promise<CreatedVolume> {
  const { clock, random, name, sizeBytes, parent } = options;
  const uid = options.uid ?? asVolumeUid(random.hex32());
  if (options.uid !== undefined) {
    const present = await getVolume({ ...options, uid });
    if (present !== undefined) return { record: sameVolume(present, options), isNew: false };
    await refuseUsedUid(options, uid);
  }
  const record: VolumeRecord = {
    format: 1,
    uid,
    name,
    sizeBytes,
    createdAtMs: clock.wallMs(),
    nonce: asNonce(random.hex32()),
    ...(parent === undefined ? {} : { parent }),
  };
  const key = volumeKey(uid);
  const outcome = await createOwned({ ...options, key, bytes: encodeRecord(record) });
  if (outcome.kind === "created") return { record, isNew: true };
  const theirs = naming(key, () => decodeVolumeRecord(outcome.bytes));
  return { record: sameVolume(theirs, options), isNew: false };
}

/** A repeated call must ask for the same volume. */
function sameVolume(present: VolumeRecord, wanted: NewVolume): VolumeRecord {
  const same =
    present.name === wanted.name &&
    present.sizeBytes === wanted.sizeBytes &&
    present.parent?.snapshot === wanted.parent?.snapshot;
  if (same) return present;
  throw new WeirError(
    "name-taken",
    "a volume with this uid exists already, but with another name, size or source",
    { details: { uid: present.uid, name: present.name, sizeBytes: present.sizeBytes } },
  );
}

/** The log of a deleted volume must not become that of a new one. */
async function refuseUsedUid(context: LogContext, uid: VolumeUid): Promise<void> {
  const left = await listFirst({ ...context, prefix: volumePrefix(uid) });
  if (left === undefined) return;
  throw new WeirError("in-use", "a deleted volume had this uid: use a new one", {
    details: { uid, key: left.key },
  });
}

async function refuseWhileNeeded(context: LogContext & { readonly uid: VolumeUid }): Promise<void> {
  const { uid, scans, signal } = context;
  const snapshots = await (scans?.snapshots(signal) ?? listSnapshots(context));
  const snapshot = snapshots.find((record) => record.volume === uid);
  if (snapshot !== undefined) {
    throw new WeirError("in-use", "the volume has snapshots: delete them first", {
      details: { uid, snapshot: snapshot.name },
    });
  }
  const volumes = await (scans?.volumes(signal) ?? listVolumes(context));
  const clone = volumes.find(({ parent }) => parent !== undefined && isFrom(parent, uid));
  if (clone !== undefined) {
    throw new WeirError("in-use", "clones of the volume share its data: delete them first", {
      details: { uid, clone: clone.name },
    });
  }
}

function isFrom(parent: ParentRecord, uid: VolumeUid): boolean {
  return parent.volume === uid || parent.checkpoint.volume === uid;
}

/**
 * A snapshot or clone that was created while the record went looks for the record afterwards, and
 * we look for it afterwards: so one of the two notices.
 */
async function restoreWhenNeeded(
  context: LogContext & { readonly uid: VolumeUid },
  record: VolumeRecord,
): Promise<void> {
  try {
    await refuseWhileNeeded(context);
  } catch (cause) {
    await createOwned({ ...context, key: volumeKey(record.uid), bytes: encodeRecord(record) });
    throw cause;
  }
}

/**
 * A claim alone fences nobody: the SEAL does. Only the newest epoch can have a live writer, because
 * its predecessors were sealed before it began.
 */
async function fenceWriter(
  options: LogContext & { readonly uid: VolumeUid; readonly writer: string },
): Promise<void> {
  const volume = options.uid;
  const newest = await findNewestEpoch({ ...options, volume });
  if (newest === 0) return;
  const checkpoint = await findCheckpoint({ ...options, volume });
  const beginning = { epoch: newest, seq: asSeq(0) };
  const after = checkpoint?.epoch === newest ? checkpoint : beginning;
  const claim = await claimEpoch({ ...options, volume, newest, from: after });
  try {
    await sealOlderEpochs({ ...options, volume, after, ours: claim.epoch });
  } catch (cause) {
    // A log that cannot be read is no reason to keep the volume.
    if (!(cause instanceof WeirError) || cause.code !== "object-corrupt") throw cause;
  }
}

/**
 * SEALs and epochs go last, so that a writer that still wakes up finds them as long as possible.
 */
async function deleteContents(options: LogContext & { readonly uid: VolumeUid }): Promise<void> {
  const { uid } = options;
  const last = [logPrefix(uid), epochsPrefix(uid)];
  await deletePrefix({ ...options, prefix: volumePrefix(uid), except: last });
  await deletePrefix({ ...options, prefix: logPrefix(uid), except: [] });
  await deletePrefix({ ...options, prefix: epochsPrefix(uid), except: [] });
}

async function deletePrefix(
  options: LogContext & { readonly prefix: string; readonly except: readonly string[] },
): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of listAll(options)) {
    if (!options.except.some((prefix) => key.startsWith(prefix))) keys.push(key);
  }
  await mapParallel(keys, (key) => deleteObject({ ...options, key }));
}

function checkSize({ sizeBytes, parent }: NewVolume): void {
  const whole = Number.isSafeInteger(sizeBytes) && sizeBytes % BLOCK_BYTES === 0;
  if (!whole || sizeBytes < BLOCK_BYTES || sizeBytes > VOLUME_BYTES_MAX) {
    throw new WeirError(
      "invalid-argument",
      "the size must be a multiple of 4096 bytes, and at most 64 TiB",
      { details: { sizeBytes } },
    );
  }
  if (parent !== undefined && sizeBytes < parent.sizeBytes) {
    throw new WeirError("invalid-argument", "a clone cannot be smaller than its snapshot", {
      details: { sizeBytes, snapshotBytes: parent.sizeBytes },
    });
  }
}
