// What exists in a bucket: reading single records and finding all of them. Deletions rely on it
// (I5, I6), so it goes by the records themselves and never by the name entries, which are only an
// index.

import type { SnapshotUid, VolumeUid } from "../runtime/ids.ts";
import { naming } from "./byte-fields.ts";
import type { LogContext } from "./context.ts";
import { getWhole, listAll, listBehind, mapParallel } from "./context.ts";
import {
  expectKey,
  parseSnapshotKey,
  parseVolumeOfKey,
  snapshotKey,
  SNAPSHOTS_PREFIX,
  volumeKey,
  VOLUMES_PREFIX,
} from "./keys.ts";
import type { SnapshotRecord, VolumeRecord } from "./records.ts";
import { decodeSnapshotRecord, decodeVolumeRecord } from "./records.ts";

const HEX_DIGITS: readonly string[] = "0123456789abcdef".split("");

/** The volume of that uid, or undefined. */
export async function getVolume(
  options: LogContext & { readonly uid: VolumeUid },
): Promise<VolumeRecord | undefined> {
  const key = volumeKey(options.uid);
  const bytes = await getWhole({ ...options, key });
  return bytes === undefined ? undefined : naming(key, () => decodeVolumeRecord(bytes));
}

/** The snapshot of that uid, or undefined. */
export async function getSnapshot(
  options: LogContext & { readonly uid: SnapshotUid },
): Promise<SnapshotRecord | undefined> {
  const key = snapshotKey(options.uid);
  const bytes = await getWhole({ ...options, key });
  return bytes === undefined ? undefined : naming(key, () => decodeSnapshotRecord(bytes));
}

/** All volumes in the order of their names: at most one LIST and one GET each, 16 at a time. */
export async function listVolumes(context: LogContext): Promise<readonly VolumeRecord[]> {
  const uids = await listVolumeUids(context);
  const records = await mapParallel(uids, (uid) => getVolume({ ...context, uid }));
  // What has no record is the rest of a deletion.
  return records.filter((record) => record !== undefined).toSorted(byName);
}

/** All snapshots in the order of their names: one GET each. */
export async function listSnapshots(context: LogContext): Promise<readonly SnapshotRecord[]> {
  const uids: SnapshotUid[] = [];
  for await (const { key } of listAll({ ...context, prefix: SNAPSHOTS_PREFIX })) {
    uids.push(expectKey(parseSnapshotKey(key), key));
  }
  const records = await mapParallel(uids, (uid) => getSnapshot({ ...context, uid }));
  return records.filter((record) => record !== undefined).toSorted(byName);
}

/** Everything that begins with `volumes/<uid>/`, deleted volumes' remains included. */
export async function listVolumeUids(context: LogContext): Promise<readonly VolumeUid[]> {
  const parts = await mapParallel(HEX_DIGITS, (digit) => listUidsBehind(context, digit));
  return parts.flat();
}

/**
 * A page has many small volumes, or the beginning of one that may hold a million objects: so the
 * listing jumps from a page's last volume to the next.
 */
async function listUidsBehind(context: LogContext, digit: string): Promise<readonly VolumeUid[]> {
  const uids = new Set<VolumeUid>();
  const prefix = VOLUMES_PREFIX + digit;
  let after = "";
  for (;;) {
    const page = await listBehind({ ...context, prefix, after });
    for (const { key } of page) uids.add(expectKey(parseVolumeOfKey(key), key));
    const last = page.at(-1);
    if (last === undefined) return [...uids];
    const uid = expectKey(parseVolumeOfKey(last.key), last.key);
    // "0" is the character behind "/": greater than every key of this volume, less than the next
    // one's.
    after = `${VOLUMES_PREFIX}${uid}0`;
  }
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  if (a.name === b.name) return 0;
  return a.name < b.name ? -1 : 1;
}
