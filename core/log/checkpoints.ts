// Checkpoints: the whole map at one position, written by the volume's writer, read chunk by chunk.
// A new one holds only the chunks that changed; for the others it points to the older objects that
// hold them.

import { WeirError } from "../runtime/errors.ts";
import { asNonce } from "../runtime/ids.ts";
import type { Nonce, Position, VolumeUid } from "../runtime/ids.ts";
import { corrupt, naming } from "./byte-fields.ts";
import type { CheckpointPlace, CheckpointRoot, ChunkEntry } from "./checkpoint-codec.ts";
import {
  checkpointRootBytes,
  decodeCheckpointHeader,
  decodeCheckpointRoot,
  encodeCheckpointRoot,
  rootBytesFor,
} from "./checkpoint-codec.ts";
import { verifyChunk } from "./chunk-codec.ts";
import type { LogContext } from "./context.ts";
import { getObject, listFirst } from "./context.ts";
import { crc32c } from "./crc32c.ts";
import { createOwned } from "./create-object.ts";
import { checkpointKey, checkpointsPrefix, expectKey, parseCheckpointKey } from "./keys.ts";
import {
  CHECKPOINT_ROOT_READ_BYTES,
  CHECKPOINT_ROOT_READ_BYTES_MAX,
  CHUNK_BYTES,
} from "./limits.ts";

/** How many older checkpoints the first read of a root makes room for. */
const OBJECTS_GUESS = 1024;

interface ChangedChunk {
  readonly chunk: number;
  /** As EncodeChunk or encodeChunk made it; null when the chunk became all holes. */
  readonly payload: Uint8Array | null;
}

export interface NewCheckpoint {
  readonly volume: VolumeUid;
  /** Committed: the changed chunks and the kept ones are the map of this position. */
  readonly position: Position;
  /** Of the segment at `position`, whichever journal is in use by now. */
  readonly journalId: Nonce;
  readonly journalEnd: number;
  readonly volumeSizeBytes: number;
  /** The checkpoint that this one follows; a clone's first follows its parent's. */
  readonly previous: CheckpointRoot | null;
  /** Since `previous`, in any order. */
  readonly changed: readonly ChangedChunk[];
}

/** The newest checkpoint of a volume, or undefined. */
export async function findCheckpoint(
  options: LogContext & { readonly volume: VolumeUid },
): Promise<CheckpointPlace | undefined> {
  const first = await listFirst({ ...options, prefix: checkpointsPrefix(options.volume) });
  return first === undefined ? undefined : expectKey(parseCheckpointKey(first.key), first.key);
}

/**
 * Reads a checkpoint's root: one request, or a second one when the guess was too small. The guess
 * is what a volume of `volumeSizeBytes` can need at most, within bounds.
 */
export async function readCheckpointRoot(
  options: LogContext & { readonly place: CheckpointPlace; readonly volumeSizeBytes: number },
): Promise<CheckpointRoot> {
  const { place, volumeSizeBytes } = options;
  const chunkCount = Math.ceil(volumeSizeBytes / CHUNK_BYTES);
  const guess = Math.min(
    Math.max(rootBytesFor(OBJECTS_GUESS, chunkCount), CHECKPOINT_ROOT_READ_BYTES),
    CHECKPOINT_ROOT_READ_BYTES_MAX,
  );
  const key = checkpointKey(place);
  const bytes = await readStart({ ...options, key, length: guess });
  const header = naming(key, () => decodeCheckpointHeader(bytes, place));
  const rootBytes = checkpointRootBytes(header);
  if (rootBytes <= guess) return naming(key, () => decodeCheckpointRoot(bytes, place));
  const all = await readStart({ ...options, key, length: rootBytes });
  return naming(key, () => decodeCheckpointRoot(all, place));
}

/**
 * Writes a checkpoint and returns its root. When one is there already for this position (written
 * before a restart, say), that one is as good: a position has one map.
 */
export async function writeCheckpoint(
  options: LogContext & NewCheckpoint,
): Promise<CheckpointRoot> {
  const bytes = assemble(options);
  const { volume, position, volumeSizeBytes } = options;
  const place = { volume, epoch: position.epoch, seq: position.seq };
  const outcome = await createOwned({ ...options, key: checkpointKey(place), bytes });
  if (outcome.kind === "created") return decodeCheckpointRoot(bytes, place);
  return readCheckpointRoot({ ...options, place, volumeSizeBytes });
}

/** The payload of one chunk of the root's table, verified. One request. */
export async function readChunk(
  options: LogContext & { readonly root: CheckpointRoot; readonly chunk: number },
): Promise<Uint8Array> {
  const { root, chunk } = options;
  const entry = findChunk(root.chunks, chunk);
  const place = entry === undefined ? undefined : root.objects[entry.object];
  if (entry === undefined || place === undefined) {
    throw new WeirError("internal", "a chunk was asked for that the checkpoint does not hold", {
      details: { chunk },
    });
  }
  const key = checkpointKey(place);
  const range = { offset: entry.offset, length: entry.length };
  const found = await getObject({ ...options, key, range });
  if (found.kind === "absent") throw missing(key);
  return naming(key, () => {
    if (found.bytes.length !== entry.length || crc32c(found.bytes) !== entry.crc) {
      throw corrupt("a chunk of the checkpoint does not match its checksum", { chunk });
    }
    verifyChunk(chunk, found.bytes);
    return found.bytes;
  });
}

function assemble(options: LogContext & NewCheckpoint): Uint8Array {
  const { volume, position, previous } = options;
  const chunks = options.changed
    .flatMap(({ chunk, payload }) => (payload === null ? [] : [{ chunk, payload }]))
    .toSorted((a, b) => a.chunk - b.chunk);
  // Checked before it is written: a damaged payload must not become part of the bucket.
  for (const { chunk, payload } of chunks) verifyChunk(chunk, payload);
  const changed = new Set(options.changed.map(({ chunk }) => chunk));
  const kept = previous?.chunks.filter(({ chunk }) => !changed.has(chunk)) ?? [];
  const inherited = renumberObjects(previous?.objects ?? [], kept);
  const rootBytes = rootBytesFor(1 + inherited.objects.length, kept.length + chunks.length);
  const entries = [...inherited.chunks, ...placeNewChunks(chunks, rootBytes)];
  const root = encodeCheckpointRoot({
    identity: {
      volume,
      epoch: position.epoch,
      seq: position.seq,
      nonce: asNonce(options.random.hex32()),
      journalId: options.journalId,
      journalEnd: options.journalEnd,
      volumeSizeBytes: options.volumeSizeBytes,
      createdAtMs: options.clock.wallMs(),
    },
    objects: [{ volume, epoch: position.epoch, seq: position.seq }, ...inherited.objects],
    chunks: entries.toSorted((a, b) => a.chunk - b.chunk),
  });
  return Buffer.concat([root, ...chunks.map(({ payload }) => payload)]);
}

function placeNewChunks(
  chunks: readonly { readonly chunk: number; readonly payload: Uint8Array }[],
  rootBytes: number,
): readonly ChunkEntry[] {
  let end = rootBytes;
  return chunks.map(({ chunk, payload }) => {
    const offset = end;
    end += payload.length;
    return { chunk, object: 0, offset, length: payload.length, crc: crc32c(payload) };
  });
}

/** Keeps only the objects that `kept` names; number 0 is the new checkpoint itself. */
function renumberObjects(
  objects: readonly CheckpointPlace[],
  kept: readonly ChunkEntry[],
): { readonly objects: readonly CheckpointPlace[]; readonly chunks: readonly ChunkEntry[] } {
  const numbers = new Map<number, number>();
  const used: CheckpointPlace[] = [];
  const chunks = kept.map((entry) => {
    const place = objects[entry.object];
    if (place === undefined)
      throw new WeirError("internal", "a checkpoint's table has no such object");
    const known = numbers.get(entry.object);
    if (known !== undefined) return { ...entry, object: known };
    used.push(place);
    numbers.set(entry.object, used.length);
    return { ...entry, object: used.length };
  });
  return { objects: used, chunks };
}

/** Binary search: chunks ascend. */
function findChunk(chunks: readonly ChunkEntry[], chunk: number): ChunkEntry | undefined {
  let low = 0;
  let high = chunks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = chunks[middle];
    if (entry === undefined || entry.chunk === chunk) return entry;
    if (entry.chunk < chunk) low = middle + 1;
    else high = middle;
  }
  return undefined;
}

async function readStart(
  options: LogContext & { readonly key: string; readonly length: number },
): Promise<Uint8Array> {
  const { key, length } = options;
  const found = await getObject({ ...options, range: { offset: 0, length } });
  if (found.kind === "found") return found.bytes;
  throw missing(key);
}

function missing(key: string): WeirError {
  return corrupt("it is missing from the bucket", { key });
}
