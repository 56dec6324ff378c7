// The JSON objects in the bucket. Fields that are not known are ignored, so that a newer release
// may add some; a newer `format` says that ignoring would be wrong.

import { z } from "zod";

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, asNonce, asSeq, asSnapshotUid, asVolumeUid } from "../runtime/ids.ts";
import { corrupt, formatUnknown } from "./byte-fields.ts";
import { BLOCK_BYTES, NUMBER_MAX, VOLUME_BYTES_MAX } from "./limits.ts";

const RECORD_FORMAT = 1;
/** Records are a few hundred bytes; what is larger was not written by Weir. */
const RECORD_BYTES_MAX = 64 * 1024;

const hex32 = z.string().regex(/^[0-9a-f]{32}$/u);
const volumeUid = hex32.transform(asVolumeUid);
const snapshotUid = hex32.transform(asSnapshotUid);
const nonce = hex32.transform(asNonce);
const count = z.int().min(0).max(NUMBER_MAX);
const epoch = count.transform(asEpoch);
const seq = count.transform(asSeq);
const timeMs = z.int().min(0);
const name = z.string().min(1).max(253);
const sizeBytes = z.int().min(BLOCK_BYTES).max(VOLUME_BYTES_MAX).multipleOf(BLOCK_BYTES);
const format = z.literal(RECORD_FORMAT);

const position = z.object({ epoch, seq }).readonly();
const checkpointPlace = z.object({ volume: volumeUid, epoch, seq }).readonly();

/** Where a clone's log begins. */
const parent = z
  .object({
    volume: volumeUid,
    snapshot: snapshotUid,
    /** Usually the parent's; a clone of an untouched clone names its grandparent's. */
    checkpoint: checkpointPlace,
    sizeBytes,
  })
  .readonly();

const volumeRecord = z
  .object({
    format,
    uid: volumeUid,
    name,
    /** At creation; the newest segment or checkpoint says what it is now. */
    sizeBytes,
    createdAtMs: timeMs,
    nonce,
    parent: parent.optional(),
  })
  .readonly();

const epochRecord = z
  .object({
    format,
    volume: volumeUid,
    epoch,
    nonce,
    /** Who claimed it, for people: a node's name. */
    writer: z.string().max(253),
    claimedAtMs: timeMs,
    /** The newest checkpoint the claimer saw. */
    from: position,
  })
  .readonly();

const snapshotRecord = z
  .object({
    format,
    uid: snapshotUid,
    name,
    volume: volumeUid,
    /** The cut. */
    position,
    /** Holds the map at the cut. */
    checkpoint: checkpointPlace,
    sizeBytes,
    createdAtMs: timeMs,
    nonce,
  })
  .readonly();

const nameEntry = z.object({ format, uid: hex32, nonce }).readonly();

export type ParentRecord = z.output<typeof parent>;
export type VolumeRecord = z.output<typeof volumeRecord>;
export type EpochRecord = z.output<typeof epochRecord>;
export type SnapshotRecord = z.output<typeof snapshotRecord>;
export type NameEntry = z.output<typeof nameEntry>;
export type BucketRecord = VolumeRecord | EpochRecord | SnapshotRecord | NameEntry;

export function decodeVolumeRecord(bytes: Uint8Array): VolumeRecord {
  return decode("volume record", volumeRecord, bytes);
}

export function decodeEpochRecord(bytes: Uint8Array): EpochRecord {
  return decode("epoch record", epochRecord, bytes);
}

export function decodeSnapshotRecord(bytes: Uint8Array): SnapshotRecord {
  return decode("snapshot record", snapshotRecord, bytes);
}

export function decodeNameEntry(bytes: Uint8Array): NameEntry {
  return decode("name entry", nameEntry, bytes);
}

/** The same record always gives the same bytes: the order of fields is the order of writing. */
export function encodeRecord(record: BucketRecord): Uint8Array {
  return Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`, "utf8");
}

function decode<T>(what: string, schema: z.ZodType<T>, bytes: Uint8Array): T {
  if (bytes.length > RECORD_BYTES_MAX) throw corrupt(`the ${what} is too large`);
  const json = parseJson(what, bytes);
  const version = z.object({ format: z.int().min(1) }).safeParse(json);
  if (!version.success) throw corrupt(`the ${what} has no format version`);
  if (version.data.format > RECORD_FORMAT) {
    throw formatUnknown(what, version.data.format, RECORD_FORMAT);
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw corrupt(`the ${what} has an invalid field`, {
    field: issue?.path.join("."),
    problem: issue?.message,
  });
}

function parseJson(what: string, bytes: Uint8Array): unknown {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return JSON.parse(text);
  } catch (cause) {
    const message = `the object cannot be used because the ${what} is not valid JSON`;
    throw new WeirError("object-corrupt", message, { cause });
  }
}
