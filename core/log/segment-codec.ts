// The objects of the log: segments and SEALs (FORMAT.md has the byte tables). The engine builds
// real segments in C++; the encoder here serves tests, golden files and repair, and is the second
// opinion.

import { asEpoch, asNonce, asSeq, asVolumeUid } from "../runtime/ids.ts";
import type { Epoch, Nonce, Position, Seq, VolumeUid } from "../runtime/ids.ts";
import { corrupt, FieldReader, FieldWriter, formatUnknown } from "./byte-fields.ts";
import { crc32c } from "./crc32c.ts";
import { encodeFrame, FRAME_STORED_BYTES_MAX } from "./frame-codec.ts";
import {
  EMPTY_SEGMENT_PADDING_BYTES,
  FRAME_BLOCKS_MAX,
  FRAME_HEADER_BYTES,
  NUMBER_MAX,
  SEGMENT_BYTES_MAX,
  SEGMENT_HEADER_BYTES,
  SEGMENT_TABLE_BYTES_MAX,
  VOLUME_BLOCKS_MAX,
  VOLUME_BYTES_MAX,
} from "./limits.ts";

const SEGMENT_MAGIC = "WEIRSEG1";
const SEGMENT_VERSION = 1;
const KIND_SEGMENT = 1;
const KIND_SEAL = 2;
const FRAME_ENTRY_BYTES = 12;
const EXTENT_ENTRY_BYTES = 16;
const EXTENT_ZEROES = 0;
const EXTENT_DATA = 1;
const NO_JOURNAL = "0".repeat(32);

/** Where a log object belongs: its key says the same. */
export interface LogPlace extends Position {
  readonly volume: VolumeUid;
}

/** What the writer of a segment decides. */
export interface SegmentIdentity extends LogPlace {
  /** Of this attempt; found again on read-back it means "that was me". */
  readonly nonce: Nonce;
  readonly journalId: Nonce;
  /** Every record of that journal up to and including this number is in the log up to here. */
  readonly journalEnd: number;
  /** The volume's size once this segment is committed. */
  readonly volumeSizeBytes: number;
  readonly createdAtMs: number;
}

export interface SegmentHeader extends SegmentIdentity {
  readonly kind: "segment";
  readonly frameCount: number;
  readonly extentCount: number;
  readonly tableBytes: number;
  readonly tableCrc: number;
}

/** Ends an epoch: nothing in it at or behind this number is, or ever becomes, part of the log. */
export interface SealHeader extends LogPlace {
  readonly kind: "seal";
  readonly nonce: Nonce;
  readonly sealedByEpoch: Epoch;
  readonly createdAtMs: number;
}

interface SegmentFrame {
  readonly offset: number;
  /** Frame header included. */
  readonly length: number;
  /** Before compression. */
  readonly blocks: number;
}

export type SegmentExtent =
  | { readonly kind: "zeroes"; readonly startBlock: number; readonly blockCount: number }
  | {
      readonly kind: "data";
      readonly startBlock: number;
      readonly blockCount: number;
      readonly frame: number;
      readonly blockInFrame: number;
    };

/** What a segment says without its data. */
export interface SegmentIndex {
  readonly header: SegmentHeader;
  readonly frames: readonly SegmentFrame[];
  readonly extents: readonly SegmentExtent[];
}

/**
 * Decodes the first 128 bytes of a log object; with `place`, that it lies where it says it does.
 */
export function decodeLogHeader(bytes: Uint8Array, place?: LogPlace): SegmentHeader | SealHeader {
  const reader = new FieldReader(bytes);
  checkEnvelope(reader);
  const volume = asVolumeUid(reader.hex16(16));
  const epoch = asEpoch(reader.u64(32));
  const seq = asSeq(reader.u64(40));
  if (epoch < 1 || epoch > NUMBER_MAX || seq < 1 || seq > NUMBER_MAX) {
    throw corrupt("its position is out of range", { epoch, seq });
  }
  if (place !== undefined) checkPlace({ volume, epoch, seq }, place);
  const common = { volume, epoch, seq, nonce: asNonce(reader.hex16(48)) };
  const createdAtMs = reader.u64(104);
  switch (reader.u32(12)) {
    case KIND_SEAL:
      return decodeSeal(reader, { ...common, createdAtMs });
    case KIND_SEGMENT:
      return decodeHeader(reader, { ...common, createdAtMs });
    default:
      throw corrupt("it is neither a segment nor a SEAL");
  }
}

/**
 * Decodes header and table from the first bytes of a segment (SEGMENT_INDEX_READ_BYTES suffice).
 */
export function decodeSegmentIndex(bytes: Uint8Array, place?: LogPlace): SegmentIndex {
  const header = decodeLogHeader(bytes, place);
  if (header.kind === "seal") throw corrupt("it is a SEAL where a segment was expected");
  const table = new FieldReader(bytes).part(SEGMENT_HEADER_BYTES, header.tableBytes);
  if (crc32c(table) !== header.tableCrc) throw corrupt("its table's checksum does not match");
  const reader = new FieldReader(table);
  const frames = decodeFrames(reader, header);
  return { header, frames, extents: decodeExtents(reader, header, frames) };
}

/** Encodes a whole segment. Each frame is up to 32 whole blocks; extents must not overlap. */
export function encodeSegment(options: {
  readonly identity: SegmentIdentity;
  readonly frames: readonly Uint8Array[];
  readonly extents: readonly SegmentExtent[];
  readonly zstdLevel: number;
}): Uint8Array {
  const { identity, extents, zstdLevel } = options;
  const tableBytes =
    options.frames.length * FRAME_ENTRY_BYTES + extents.length * EXTENT_ENTRY_BYTES;
  let offset = SEGMENT_HEADER_BYTES + tableBytes;
  const frames = options.frames.map((blocks) => {
    const bytes = encodeFrame({ identity: { ...identity, offset }, blocks, zstdLevel });
    offset += bytes.length;
    return { offset: offset - bytes.length, blocks: blocks.length / 4096, bytes };
  });
  const table = encodeTable(frames, extents);
  const header = encodeSegmentHeader(identity, frames.length, extents.length, table);
  const padding = new Uint8Array(table.length === 0 ? EMPTY_SEGMENT_PADDING_BYTES : 0);
  return Buffer.concat([header, table, ...frames.map((frame) => frame.bytes), padding]);
}

/** Encodes a SEAL: exactly one header. */
export function encodeSeal(seal: Omit<SealHeader, "kind">): Uint8Array {
  const writer = envelope(KIND_SEAL, seal);
  writer.hex16(64, NO_JOURNAL);
  writer.u64(80, seal.sealedByEpoch);
  writer.u64(104, seal.createdAtMs);
  writer.u32(116, crc32c(new Uint8Array()));
  return closeEnvelope(writer);
}

function checkEnvelope(reader: FieldReader): void {
  if (reader.ascii(0, 8) !== SEGMENT_MAGIC)
    throw corrupt("it does not begin with a segment's magic");
  const version = reader.u32(8);
  // Magic, version and this checksum keep their places in every version: a damaged version number
  // is told apart from a newer one.
  if (reader.u32(124) !== crc32c(reader.part(0, 124))) {
    throw corrupt("its header's checksum does not match");
  }
  if (version > SEGMENT_VERSION) throw formatUnknown("segment", version, SEGMENT_VERSION);
  if (version < SEGMENT_VERSION) throw corrupt("its format version is not a valid number");
  const flags = reader.u32(120);
  if (flags !== 0) throw formatUnknown("segment", version, SEGMENT_VERSION);
}

function checkPlace(found: LogPlace, place: LogPlace): void {
  const same =
    found.volume === place.volume && found.epoch === place.epoch && found.seq === place.seq;
  if (!same) {
    throw corrupt("it belongs to another place in the log", {
      volume: place.volume,
      epoch: place.epoch,
      seq: place.seq,
      foundVolume: found.volume,
      foundEpoch: found.epoch,
      foundSeq: found.seq,
    });
  }
}

interface CommonFields extends LogPlace {
  readonly nonce: Nonce;
  readonly createdAtMs: number;
}

function decodeSeal(reader: FieldReader, common: CommonFields): SealHeader {
  const sealedByEpoch = asEpoch(reader.u64(80));
  if (reader.u32(96) !== 0 || reader.u32(100) !== 0 || reader.u32(112) !== 0) {
    throw corrupt("a SEAL has content");
  }
  if (sealedByEpoch <= common.epoch) throw corrupt("a SEAL was not made by a higher epoch");
  return { ...common, kind: "seal", sealedByEpoch };
}

function decodeHeader(reader: FieldReader, common: CommonFields): SegmentHeader {
  const header: SegmentHeader = {
    ...common,
    kind: "segment",
    journalId: asNonce(reader.hex16(64)),
    journalEnd: reader.u64(80),
    volumeSizeBytes: reader.u64(88),
    frameCount: reader.u32(96),
    extentCount: reader.u32(100),
    tableBytes: reader.u32(112),
    tableCrc: reader.u32(116),
  };
  const { frameCount, extentCount, tableBytes } = header;
  const expected = frameCount * FRAME_ENTRY_BYTES + extentCount * EXTENT_ENTRY_BYTES;
  if (tableBytes !== expected || tableBytes > SEGMENT_TABLE_BYTES_MAX) {
    throw corrupt("its table's size is wrong", { tableBytes, frameCount, extentCount });
  }
  if (header.volumeSizeBytes > VOLUME_BYTES_MAX) throw corrupt("its volume size is out of range");
  return header;
}

function decodeFrames(reader: FieldReader, header: SegmentHeader): readonly SegmentFrame[] {
  const frames: SegmentFrame[] = [];
  let end = SEGMENT_HEADER_BYTES + header.tableBytes;
  for (let index = 0; index < header.frameCount; index += 1) {
    const at = index * FRAME_ENTRY_BYTES;
    const frame: SegmentFrame = {
      offset: reader.u32(at),
      length: reader.u32(at + 4),
      blocks: reader.u16(at + 8),
    };
    const validLength = frame.length > FRAME_HEADER_BYTES && frame.length <= FRAME_STORED_BYTES_MAX;
    if (frame.offset < end || frame.offset > SEGMENT_BYTES_MAX || !validLength) {
      throw corrupt("a frame lies outside its place", { index });
    }
    if (frame.blocks < 1 || frame.blocks > FRAME_BLOCKS_MAX) {
      throw corrupt("a frame's block count is out of range", { index });
    }
    end = frame.offset + frame.length;
    frames.push(frame);
  }
  return frames;
}

function decodeExtents(
  reader: FieldReader,
  header: SegmentHeader,
  frames: readonly SegmentFrame[],
): readonly SegmentExtent[] {
  const base = header.frameCount * FRAME_ENTRY_BYTES;
  const extents: SegmentExtent[] = [];
  for (let index = 0; index < header.extentCount; index += 1) {
    extents.push(decodeExtent(reader, base + index * EXTENT_ENTRY_BYTES, frames));
  }
  checkNoOverlap(extents);
  return extents;
}

function decodeExtent(
  reader: FieldReader,
  at: number,
  frames: readonly SegmentFrame[],
): SegmentExtent {
  const startBlock = reader.u64(at);
  const blockCount = reader.u32(at + 8);
  if (blockCount < 1 || startBlock + blockCount > VOLUME_BLOCKS_MAX) {
    throw corrupt("an extent is out of range", { startBlock, blockCount });
  }
  const kind = reader.u8(at + 15);
  if (kind === EXTENT_ZEROES) return { kind: "zeroes", startBlock, blockCount };
  if (kind !== EXTENT_DATA) throw corrupt("an extent's kind is not known", { kind });
  const frame = reader.u16(at + 12);
  const blockInFrame = reader.u8(at + 14);
  const blocks = frames[frame]?.blocks ?? 0;
  if (blockInFrame + blockCount > blocks) {
    throw corrupt("an extent lies outside its frame", { startBlock, frame });
  }
  return { kind: "data", startBlock, blockCount, frame, blockInFrame };
}

/** Which of two overlapping extents is newer could not be told; the writer never makes them. */
function checkNoOverlap(extents: readonly SegmentExtent[]): void {
  const ascending = extents.toSorted((a, b) => a.startBlock - b.startBlock);
  let end = 0;
  for (const extent of ascending) {
    if (extent.startBlock < end) {
      throw corrupt("two of its extents overlap", { startBlock: extent.startBlock });
    }
    end = extent.startBlock + extent.blockCount;
  }
}

function encodeTable(
  frames: readonly { offset: number; blocks: number; bytes: Uint8Array }[],
  extents: readonly SegmentExtent[],
): Uint8Array {
  const base = frames.length * FRAME_ENTRY_BYTES;
  const writer = new FieldWriter(base + extents.length * EXTENT_ENTRY_BYTES);
  for (const [index, frame] of frames.entries()) {
    writer.u32(index * FRAME_ENTRY_BYTES, frame.offset);
    writer.u32(index * FRAME_ENTRY_BYTES + 4, frame.bytes.length);
    writer.u16(index * FRAME_ENTRY_BYTES + 8, frame.blocks);
  }
  for (const [index, extent] of extents.entries()) {
    const at = base + index * EXTENT_ENTRY_BYTES;
    writer.u64(at, extent.startBlock);
    writer.u32(at + 8, extent.blockCount);
    if (extent.kind === "zeroes") continue;
    writer.u16(at + 12, extent.frame);
    writer.u8(at + 14, extent.blockInFrame);
    writer.u8(at + 15, EXTENT_DATA);
  }
  return writer.bytes;
}

function encodeSegmentHeader(
  identity: SegmentIdentity,
  frameCount: number,
  extentCount: number,
  table: Uint8Array,
): Uint8Array {
  const writer = envelope(KIND_SEGMENT, identity);
  writer.hex16(64, identity.journalId);
  writer.u64(80, identity.journalEnd);
  writer.u64(88, identity.volumeSizeBytes);
  writer.u32(96, frameCount);
  writer.u32(100, extentCount);
  writer.u64(104, identity.createdAtMs);
  writer.u32(112, table.length);
  writer.u32(116, crc32c(table));
  return closeEnvelope(writer);
}

function envelope(
  kind: number,
  fields: LogPlace & { readonly nonce: Nonce; readonly epoch: Epoch; readonly seq: Seq },
): FieldWriter {
  const writer = new FieldWriter(SEGMENT_HEADER_BYTES);
  writer.ascii(0, SEGMENT_MAGIC);
  writer.u32(8, SEGMENT_VERSION);
  writer.u32(12, kind);
  writer.hex16(16, fields.volume);
  writer.u64(32, fields.epoch);
  writer.u64(40, fields.seq);
  writer.hex16(48, fields.nonce);
  return writer;
}

function closeEnvelope(writer: FieldWriter): Uint8Array {
  writer.u32(124, crc32c(writer.bytes.subarray(0, 124)));
  return writer.bytes;
}
