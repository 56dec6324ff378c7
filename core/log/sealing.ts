// Reading the log behind a position, and ending epochs in it. One walk serves both: it goes through
// the epochs in order and follows each up to its first SEAL or first missing number (FORMAT.md,
// Rules).

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, asNonce, asSeq } from "../runtime/ids.ts";
import type { Epoch, Position, VolumeUid } from "../runtime/ids.ts";
import { naming } from "./byte-fields.ts";
import type { LogContext } from "./context.ts";
import { getObject, listAll, mapParallel } from "./context.ts";
import { createOwned } from "./create-object.ts";
import { expectKey, logKeyAfter, logPrefix, parseLogKey, logKey } from "./keys.ts";
import { SEAL_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_INDEX_READ_BYTES } from "./limits.ts";
import type { LogPlace, SealHeader, SegmentHeader } from "./segment-codec.ts";
import { decodeLogHeader, decodeSegmentIndex, encodeSeal } from "./segment-codec.ts";

/** The most SEALs tried at once; an old writer has far fewer PUTs in flight. */
const SEAL_WINDOW_MAX = 64;

/** A committed segment as the log has it. */
export interface LogSegment {
  readonly position: Position;
  readonly header: SegmentHeader;
  /** Header and table, verified: what the engine decodes. */
  readonly indexBytes: Uint8Array;
}

type LogEntry = { readonly kind: "segment"; readonly segment: LogSegment } | SealHeader;

/** How an epoch's walk ended: sealed, or still open with `next` as its first missing number. */
interface EpochWalk {
  readonly segments: readonly LogSegment[];
  readonly sealed: boolean;
  readonly next: number;
}

/** Numbers present in each epoch behind a position, as listed, with the size of each object. */
type LogListing = ReadonlyMap<Epoch, ReadonlyMap<number, number>>;

async function listLog(
  options: LogContext & { readonly volume: VolumeUid; readonly after: Position },
): Promise<LogListing> {
  const { volume, after } = options;
  const listing = new Map<Epoch, Map<number, number>>();
  const prefix = logPrefix(volume);
  const listed = listAll({ ...options, prefix, after: logKeyAfter(volume, after) });
  for await (const { key, sizeBytes } of listed) {
    const { epoch, seq } = expectKey(parseLogKey(key), key);
    const sizes = listing.get(epoch) ?? new Map<number, number>();
    listing.set(epoch, sizes.set(seq, sizeBytes));
  }
  return listing;
}

/**
 * The committed segments behind `after`, without changing anything. It ends at the first epoch that
 * is still open: no later epoch can hold a committed segment.
 */
export async function readCommitted(
  options: LogContext & { readonly volume: VolumeUid; readonly after: Position },
): Promise<readonly LogSegment[]> {
  const listing = await listLog(options);
  const segments: LogSegment[] = [];
  for (let epoch = firstEpoch(options.after); ; epoch = asEpoch(epoch + 1)) {
    const walk = await walkEpoch({ ...options, epoch, listing });
    segments.push(...walk.segments);
    if (!walk.sealed) return segments;
  }
}

/**
 * Ends every epoch below `ours` and returns the committed segments behind `after`. When it returns,
 * no writer but ours can commit any more. Ends in `fenced` when a higher epoch is at work.
 */
export async function sealOlderEpochs(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly after: Position;
    readonly ours: Epoch;
  },
): Promise<readonly LogSegment[]> {
  const { ours, after } = options;
  const listing = await listLog(options);
  for (const epoch of listing.keys()) {
    // Our own epoch is empty until we write, so what is in it is the SEAL of a higher one.
    if (epoch >= ours) throw overtaken(ours, epoch);
  }
  const segments: LogSegment[] = [];
  for (let epoch = firstEpoch(after); epoch < ours; epoch = asEpoch(epoch + 1)) {
    const walk = await walkEpoch({ ...options, epoch, listing });
    segments.push(...walk.segments);
    if (!walk.sealed) segments.push(...(await sealEpoch({ ...options, epoch, from: walk.next })));
  }
  return segments;
}

/** Follows one epoch through the listing. */
async function walkEpoch(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly after: Position;
    readonly epoch: Epoch;
    readonly listing: LogListing;
    readonly ours?: Epoch;
  },
): Promise<EpochWalk> {
  const { volume, after, epoch, listing } = options;
  const sizes = listing.get(epoch) ?? new Map<number, number>();
  const first = epoch === after.epoch ? after.seq + 1 : 1;
  const places: LogPlace[] = [];
  let next = first;
  // A SEAL is known by its size and not read: whoever put it, the epoch ends there, and if it was
  // an epoch above ours, then ours is sealed as well and our first commit says so.
  while ((sizes.get(next) ?? 0) > SEAL_BYTES) {
    places.push({ volume, epoch, seq: asSeq(next) });
    next += 1;
  }
  const entries = await mapParallel(places, (place) => readEntry({ ...options, place }));
  const { segments, sealed } = upToSeal(entries, options.ours);
  return { segments, sealed: sealed || sizes.get(next) === SEAL_BYTES, next };
}

/**
 * Puts SEALs from the first missing number on until one ends the epoch. A number that is taken by a
 * segment belongs to the old writer, which was there first. The old writer may go on writing at
 * full speed, so the number of SEALs tried at once doubles until it is overtaken: only the first
 * one counts.
 */
async function sealEpoch(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly epoch: Epoch;
    readonly from: number;
    readonly ours: Epoch;
  },
): Promise<readonly LogSegment[]> {
  const { volume, epoch, ours } = options;
  const segments: LogSegment[] = [];
  let next = options.from;
  for (let window = 1; ; window = Math.min(window * 2, SEAL_WINDOW_MAX)) {
    const places = Array.from({ length: window }, (_, index) => ({
      volume,
      epoch,
      seq: asSeq(next + index),
    }));
    const entries = await mapParallel(places, (place) => sealAt({ ...options, place }));
    const part = upToSeal(entries, ours);
    segments.push(...part.segments);
    if (part.sealed) return segments;
    next += window;
  }
}

async function sealAt(
  options: LogContext & { readonly place: LogPlace; readonly ours: Epoch },
): Promise<LogEntry> {
  const { clock, random, place, ours } = options;
  const seal: Omit<SealHeader, "kind"> = {
    ...place,
    nonce: asNonce(random.hex32()),
    sealedByEpoch: ours,
    createdAtMs: clock.wallMs(),
  };
  const key = logKey(place);
  const outcome = await createOwned({ ...options, key, bytes: encodeSeal(seal) });
  if (outcome.kind === "created") return { ...seal, kind: "seal" };
  return decodeEntry(outcome.bytes, place);
}

async function readEntry(options: LogContext & { readonly place: LogPlace }): Promise<LogEntry> {
  const { place } = options;
  const key = logKey(place);
  const range = { offset: 0, length: SEGMENT_INDEX_READ_BYTES };
  const found = await getObject({ ...options, key, range });
  if (found.kind === "found") return decodeEntry(found.bytes, place);
  throw new WeirError("aborted", "the log was cleaned while it was read: open the volume again", {
    details: { key },
  });
}

function decodeEntry(bytes: Uint8Array, place: LogPlace): LogEntry {
  return naming(logKey(place), () => {
    const header = decodeLogHeader(bytes, place);
    if (header.kind === "seal") return header;
    decodeSegmentIndex(bytes, place);
    const indexBytes = bytes.subarray(0, SEGMENT_HEADER_BYTES + header.tableBytes);
    const position = { epoch: place.epoch, seq: place.seq };
    return { kind: "segment", segment: { position, header, indexBytes } };
  });
}

/** The segments before the first SEAL; what lies behind it was never committed. */
function upToSeal(
  entries: readonly LogEntry[],
  ours: Epoch | undefined,
): { readonly segments: readonly LogSegment[]; readonly sealed: boolean } {
  const segments: LogSegment[] = [];
  for (const entry of entries) {
    if (entry.kind === "segment") {
      segments.push(entry.segment);
      continue;
    }
    if (ours !== undefined && entry.sealedByEpoch > ours)
      throw overtaken(ours, entry.sealedByEpoch);
    return { segments, sealed: true };
  }
  return { segments, sealed: false };
}

function firstEpoch(after: Position): Epoch {
  return asEpoch(Math.max(after.epoch, 1));
}

function overtaken(ours: Epoch, theirs: Epoch): WeirError {
  return new WeirError(
    "fenced",
    `the volume was opened again elsewhere with epoch ${theirs} while this node opened it`,
    { details: { ours, theirs } },
  );
}
