// Checkpoint objects: the whole map at one position. The root (header, object table, chunk table)
// is read on attach; chunk payloads are read one by one, from this object or from the older one
// that the table names, which may be another volume's for a clone.

import { asEpoch, asNonce, asSeq, asVolumeUid } from "../runtime/ids.ts";
import type { Nonce, Position, VolumeUid } from "../runtime/ids.ts";
import { corrupt, FieldReader, FieldWriter, formatUnknown } from "./byte-fields.ts";
import { CHUNK_PAYLOAD_BYTES_MAX } from "./chunk-codec.ts";
import { crc32c } from "./crc32c.ts";
import {
  CHECKPOINT_HEADER_BYTES,
  CHUNK_BYTES,
  CHUNKS_MAX,
  NUMBER_MAX,
  VOLUME_BYTES_MAX,
} from "./limits.ts";

const CHECKPOINT_MAGIC = "WEIRCKP1";
const CHECKPOINT_VERSION = 1;
const OBJECT_ENTRY_BYTES = 32;
const CHUNK_ENTRY_BYTES = 24;

/** Names one checkpoint object. */
export interface CheckpointPlace extends Position {
  readonly volume: VolumeUid;
}

export interface CheckpointIdentity extends CheckpointPlace {
  readonly nonce: Nonce;
  readonly journalId: Nonce;
  /** Every record of that journal up to and including this number is in the map. */
  readonly journalEnd: number;
  readonly volumeSizeBytes: number;
  readonly createdAtMs: number;
}

export interface CheckpointHeader extends CheckpointIdentity {
  readonly objectCount: number;
  readonly chunkCount: number;
  readonly tableBytes: number;
  readonly tableCrc: number;
}

export interface ChunkEntry {
  readonly chunk: number;
  /** Index into objects. */
  readonly object: number;
  /** From the start of that object. */
  readonly offset: number;
  readonly length: number;
  readonly crc: number;
}

export interface CheckpointRoot {
  readonly header: CheckpointHeader;
  /** The first is this checkpoint itself. */
  readonly objects: readonly CheckpointPlace[];
  /** Ascending by chunk. */
  readonly chunks: readonly ChunkEntry[];
}

export function decodeCheckpointHeader(
  bytes: Uint8Array,
  place?: CheckpointPlace,
): CheckpointHeader {
  const reader = new FieldReader(bytes);
  checkEnvelope(reader);
  const header: CheckpointHeader = {
    volume: asVolumeUid(reader.hex16(16)),
    epoch: asEpoch(reader.u64(32)),
    seq: asSeq(reader.u64(40)),
    nonce: asNonce(reader.hex16(48)),
    journalId: asNonce(reader.hex16(64)),
    journalEnd: reader.u64(80),
    volumeSizeBytes: reader.u64(88),
    objectCount: reader.u32(96),
    chunkCount: reader.u32(100),
    createdAtMs: reader.u64(104),
    tableBytes: reader.u32(112),
    tableCrc: reader.u32(116),
  };
  checkHeader(header);
  const found = placeName(header);
  if (place !== undefined && found !== placeName(place)) {
    throw corrupt("it is another checkpoint than its key says", { found, key: placeName(place) });
  }
  return header;
}

/** Bytes of the object that hold the root. */
export function checkpointRootBytes(header: CheckpointHeader): number {
  return CHECKPOINT_HEADER_BYTES + header.tableBytes;
}

/** Decodes the root from the first bytes of a checkpoint object. */
export function decodeCheckpointRoot(bytes: Uint8Array, place?: CheckpointPlace): CheckpointRoot {
  const header = decodeCheckpointHeader(bytes, place);
  const table = new FieldReader(bytes).part(CHECKPOINT_HEADER_BYTES, header.tableBytes);
  if (crc32c(table) !== header.tableCrc) throw corrupt("its table's checksum does not match");
  const reader = new FieldReader(table);
  const objects = decodeObjects(reader, header);
  return { header, objects, chunks: decodeChunks(reader, header) };
}

/**
 * Encodes header and tables; the payloads named under object 0 follow in the order of the table.
 */
export function encodeCheckpointRoot(options: {
  readonly identity: CheckpointIdentity;
  readonly objects: readonly CheckpointPlace[];
  readonly chunks: readonly ChunkEntry[];
}): Uint8Array {
  const { identity, objects, chunks } = options;
  const table = encodeTable(objects, chunks);
  const writer = new FieldWriter(CHECKPOINT_HEADER_BYTES + table.length);
  writer.ascii(0, CHECKPOINT_MAGIC);
  writer.u32(8, CHECKPOINT_VERSION);
  writer.hex16(16, identity.volume);
  writer.u64(32, identity.epoch);
  writer.u64(40, identity.seq);
  writer.hex16(48, identity.nonce);
  writer.hex16(64, identity.journalId);
  writer.u64(80, identity.journalEnd);
  writer.u64(88, identity.volumeSizeBytes);
  writer.u32(96, objects.length);
  writer.u32(100, chunks.length);
  writer.u64(104, identity.createdAtMs);
  writer.u32(112, table.length);
  writer.u32(116, crc32c(table));
  writer.u32(124, crc32c(writer.bytes.subarray(0, 124)));
  writer.bytes.set(table, CHECKPOINT_HEADER_BYTES);
  return writer.bytes;
}

/** Bytes before the payloads, known from the counts alone. */
export function rootBytesFor(objectCount: number, chunkCount: number): number {
  return (
    CHECKPOINT_HEADER_BYTES + objectCount * OBJECT_ENTRY_BYTES + chunkCount * CHUNK_ENTRY_BYTES
  );
}

function checkEnvelope(reader: FieldReader): void {
  if (reader.ascii(0, 8) !== CHECKPOINT_MAGIC) {
    throw corrupt("it does not begin with a checkpoint's magic");
  }
  // Magic, version and this checksum keep their places in every version, see segment-codec.ts.
  if (reader.u32(124) !== crc32c(reader.part(0, 124))) {
    throw corrupt("its header's checksum does not match");
  }
  const version = reader.u32(8);
  const newer = version > CHECKPOINT_VERSION || reader.u32(12) !== 0;
  if (newer) throw formatUnknown("checkpoint", version, CHECKPOINT_VERSION);
  if (version < CHECKPOINT_VERSION) throw corrupt("its format version is not a valid number");
}

function checkHeader(header: CheckpointHeader): void {
  const { objectCount, chunkCount, tableBytes } = header;
  if (header.epoch > NUMBER_MAX || header.seq > NUMBER_MAX) {
    throw corrupt("its position is out of range");
  }
  if (header.volumeSizeBytes > VOLUME_BYTES_MAX || chunkCount > CHUNKS_MAX) {
    throw corrupt("its volume size is out of range");
  }
  // Every object but this one holds at least one chunk of the table.
  if (objectCount < 1 || objectCount > chunkCount + 1) throw corrupt("its object count is wrong");
  if (CHECKPOINT_HEADER_BYTES + tableBytes !== rootBytesFor(objectCount, chunkCount)) {
    throw corrupt("its table's size is wrong", { tableBytes, objectCount, chunkCount });
  }
}

function placeName(place: CheckpointPlace): string {
  return `${place.volume}/${place.epoch}-${place.seq}`;
}

function decodeObjects(reader: FieldReader, header: CheckpointHeader): readonly CheckpointPlace[] {
  const objects: CheckpointPlace[] = [];
  for (let index = 0; index < header.objectCount; index += 1) {
    const at = index * OBJECT_ENTRY_BYTES;
    const place: CheckpointPlace = {
      volume: asVolumeUid(reader.hex16(at)),
      epoch: asEpoch(reader.u64(at + 16)),
      seq: asSeq(reader.u64(at + 24)),
    };
    if (place.epoch > NUMBER_MAX || place.seq > NUMBER_MAX) {
      throw corrupt("it names an impossible checkpoint", { index });
    }
    objects.push(place);
  }
  const [self] = objects;
  if (self === undefined || placeName(self) !== placeName(header)) {
    throw corrupt("its object table does not begin with itself");
  }
  return objects;
}

function decodeChunks(reader: FieldReader, header: CheckpointHeader): readonly ChunkEntry[] {
  const base = header.objectCount * OBJECT_ENTRY_BYTES;
  const limit = Math.ceil(header.volumeSizeBytes / CHUNK_BYTES);
  const chunks: ChunkEntry[] = [];
  let next = 0;
  for (let index = 0; index < header.chunkCount; index += 1) {
    const at = base + index * CHUNK_ENTRY_BYTES;
    const entry: ChunkEntry = {
      chunk: reader.u32(at),
      object: reader.u32(at + 4),
      offset: reader.u64(at + 8),
      length: reader.u32(at + 16),
      crc: reader.u32(at + 20),
    };
    if (entry.chunk < next || entry.chunk >= limit) {
      throw corrupt("its chunks are out of order or out of range", { chunk: entry.chunk });
    }
    if (entry.object >= header.objectCount || entry.length > CHUNK_PAYLOAD_BYTES_MAX) {
      throw corrupt("a chunk's place is out of range", { chunk: entry.chunk });
    }
    next = entry.chunk + 1;
    chunks.push(entry);
  }
  return chunks;
}

function encodeTable(
  objects: readonly CheckpointPlace[],
  chunks: readonly ChunkEntry[],
): Uint8Array {
  const base = objects.length * OBJECT_ENTRY_BYTES;
  const writer = new FieldWriter(base + chunks.length * CHUNK_ENTRY_BYTES);
  for (const [index, object] of objects.entries()) {
    const at = index * OBJECT_ENTRY_BYTES;
    writer.hex16(at, object.volume);
    writer.u64(at + 16, object.epoch);
    writer.u64(at + 24, object.seq);
  }
  for (const [index, entry] of chunks.entries()) {
    const at = base + index * CHUNK_ENTRY_BYTES;
    writer.u32(at, entry.chunk);
    writer.u32(at + 4, entry.object);
    writer.u64(at + 8, entry.offset);
    writer.u32(at + 16, entry.length);
    writer.u32(at + 20, entry.crc);
  }
  return writer.bytes;
}
