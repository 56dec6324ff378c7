// Every key in the bucket, both directions. Listing order is part of the protocol: the log lists in
// order of position, epochs and checkpoints list newest first, so that LIST with limit 1 finds
// them.

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, asSeq, asSnapshotUid, asVolumeUid, isHex32 } from "../runtime/ids.ts";
import type { Epoch, Position, SnapshotUid, VolumeUid } from "../runtime/ids.ts";
import { corrupt } from "./byte-fields.ts";
import type { CheckpointPlace } from "./checkpoint-codec.ts";
import { NUMBER_MAX } from "./limits.ts";
import type { LogPlace } from "./segment-codec.ts";

const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/u;
const ASCENDING = /^[0-9a-f]{16}$/u;
const DESCENDING = /^[0-9a-f]{13}$/u;

const VOLUME_NAMES_PREFIX = "names/volumes/";
const SNAPSHOT_NAMES_PREFIX = "names/snapshots/";
export const SNAPSHOTS_PREFIX = "snapshots/";
export const VOLUMES_PREFIX = "volumes/";

export const volumeNameKey = (name: string): string => VOLUME_NAMES_PREFIX + checkName(name);
export const snapshotNameKey = (name: string): string => SNAPSHOT_NAMES_PREFIX + checkName(name);
export const snapshotKey = (uid: SnapshotUid): string => SNAPSHOTS_PREFIX + checkUid(uid);

export const volumePrefix = (uid: VolumeUid): string => `${VOLUMES_PREFIX}${checkUid(uid)}/`;
export const volumeKey = (uid: VolumeUid): string => `${volumePrefix(uid)}volume.json`;
export const epochsPrefix = (uid: VolumeUid): string => `${volumePrefix(uid)}epochs/`;
export const logPrefix = (uid: VolumeUid): string => `${volumePrefix(uid)}log/`;
export const checkpointsPrefix = (uid: VolumeUid): string => `${volumePrefix(uid)}checkpoints/`;

export function epochKey(uid: VolumeUid, epoch: Epoch): string {
  return epochsPrefix(uid) + descending(epoch);
}

export function logKey(place: LogPlace): string {
  return `${logPrefix(place.volume)}${ascending(place.epoch)}/${ascending(place.seq)}`;
}

/**
 * The greatest possible key at or before `position` when listing the log: given as `after`, the
 * list begins with the first object behind that position.
 */
export function logKeyAfter(uid: VolumeUid, position: Position): string {
  return `${logPrefix(uid)}${ascending(position.epoch)}/${ascending(position.seq)}`;
}

export function checkpointKey(place: CheckpointPlace): string {
  const { volume, epoch, seq } = place;
  return `${checkpointsPrefix(volume)}${descending(epoch)}-${descending(seq)}`;
}

/** The inverse of volumeNameKey; undefined when the key is of another kind. */
export function parseVolumeNameKey(key: string): string | undefined {
  return parseName(key, VOLUME_NAMES_PREFIX);
}

export function parseSnapshotNameKey(key: string): string | undefined {
  return parseName(key, SNAPSHOT_NAMES_PREFIX);
}

export function parseSnapshotKey(key: string): SnapshotUid | undefined {
  const rest = withoutPrefix(key, SNAPSHOTS_PREFIX);
  return rest !== undefined && isHex32(rest) ? asSnapshotUid(rest) : undefined;
}

/** The volume that a key belongs to. */
export function parseVolumeOfKey(key: string): VolumeUid | undefined {
  const [uid, ...rest] = withoutPrefix(key, VOLUMES_PREFIX)?.split("/") ?? [];
  if (uid === undefined || rest.length === 0 || !isHex32(uid)) return undefined;
  return asVolumeUid(uid);
}

export function parseEpochKey(key: string): { volume: VolumeUid; epoch: Epoch } | undefined {
  const volume = parseVolumeOfKey(key);
  if (volume === undefined) return undefined;
  const digits = withoutPrefix(key, epochsPrefix(volume));
  const epoch = digits === undefined ? undefined : parseDescending(digits);
  return epoch === undefined || epoch < 1 ? undefined : { volume, epoch: asEpoch(epoch) };
}

export function parseLogKey(key: string): LogPlace | undefined {
  const volume = parseVolumeOfKey(key);
  if (volume === undefined) return undefined;
  const parts = withoutPrefix(key, logPrefix(volume))?.split("/") ?? [];
  const [epoch, seq] = parts.map(parseAscending);
  if (parts.length !== 2 || epoch === undefined || seq === undefined) return undefined;
  return epoch < 1 || seq < 1 ? undefined : { volume, epoch: asEpoch(epoch), seq: asSeq(seq) };
}

export function parseCheckpointKey(key: string): CheckpointPlace | undefined {
  const volume = parseVolumeOfKey(key);
  if (volume === undefined) return undefined;
  const parts = withoutPrefix(key, checkpointsPrefix(volume))?.split("-") ?? [];
  const [epoch, seq] = parts.map(parseDescending);
  if (parts.length !== 2 || epoch === undefined || seq === undefined) return undefined;
  return { volume, epoch: asEpoch(epoch), seq: asSeq(seq) };
}

/** For a listed key that must be of the kind its prefix says. */
export function expectKey<T>(parsed: T | undefined, key: string): T {
  if (parsed === undefined) throw corrupt("its key is not one that Weir makes", { key });
  return parsed;
}

/** A name a user may give to a volume or snapshot. */
export function checkName(name: string): string {
  if (NAME.test(name)) return name;
  throw new WeirError(
    "invalid-argument",
    "the name must have 1 to 253 characters of a-z, 0-9, '.' and '-', " +
      "and must begin and end with a letter or digit",
    { details: { name } },
  );
}

function checkUid(uid: string): string {
  if (isHex32(uid)) return uid;
  throw new WeirError("invalid-argument", "the uid must be 32 lower-case hexadecimal digits", {
    details: { uid },
  });
}

function ascending(value: number): string {
  return checkNumber(value).toString(16).padStart(16, "0");
}

/** The newest has the lowest digits, so it lists first. */
function descending(value: number): string {
  return (NUMBER_MAX - checkNumber(value)).toString(16).padStart(13, "0");
}

function checkNumber(value: number): number {
  if (Number.isSafeInteger(value) && value >= 0 && value <= NUMBER_MAX) return value;
  throw new WeirError("internal", "an epoch or sequence number is out of range", {
    details: { value },
  });
}

function parseAscending(digits: string): number | undefined {
  if (!ASCENDING.test(digits)) return undefined;
  const value = Number.parseInt(digits, 16);
  return value <= NUMBER_MAX ? value : undefined;
}

function parseDescending(digits: string): number | undefined {
  return DESCENDING.test(digits) ? NUMBER_MAX - Number.parseInt(digits, 16) : undefined;
}

function parseName(key: string, prefix: string): string | undefined {
  const rest = withoutPrefix(key, prefix);
  return rest !== undefined && NAME.test(rest) ? rest : undefined;
}

function withoutPrefix(key: string, prefix: string): string | undefined {
  return key.startsWith(prefix) ? key.slice(prefix.length) : undefined;
}
