// The map of one chunk (64 MiB of a volume) as a checkpoint stores it. Self-contained: segments and
// frames are listed once each; holes and zeroes are simply absent.

import { asEpoch, asSeq, asVolumeUid } from "../runtime/ids.ts";
import { corrupt, FieldReader, FieldWriter } from "./byte-fields.ts";
import { crc32c } from "./crc32c.ts";
import { compressWhenItPays, decompress, FRAME_STORED_BYTES_MAX } from "./frame-codec.ts";
import {
  CHUNK_BLOCKS,
  FRAME_BLOCKS_MAX,
  FRAME_HEADER_BYTES,
  NUMBER_MAX,
  SEGMENT_BYTES_MAX,
} from "./limits.ts";
import type { LogPlace } from "./segment-codec.ts";

const CHUNK_MAGIC = 0x4b484357;
const CHUNK_HEADER_BYTES = 16;
const BODY_HEADER_BYTES = 16;
const SEGMENT_ENTRY_BYTES = 32;
const FRAME_ENTRY_BYTES = 16;
const EXTENT_ENTRY_BYTES = 8;
const ENTRY_BYTES = SEGMENT_ENTRY_BYTES + FRAME_ENTRY_BYTES + EXTENT_ENTRY_BYTES;
/** Every block in an extent, a frame and a segment of its own. */
const CHUNK_RAW_BYTES_MAX = BODY_HEADER_BYTES + CHUNK_BLOCKS * ENTRY_BYTES;

/** No payload is longer: compression never makes it so. */
export const CHUNK_PAYLOAD_BYTES_MAX = CHUNK_HEADER_BYTES + CHUNK_RAW_BYTES_MAX;

interface ChunkFrame {
  /** Index into segments. */
  readonly segment: number;
  readonly offset: number;
  /** Frame header included. */
  readonly length: number;
  readonly blocks: number;
}

interface ChunkExtent {
  /** Block in the chunk. */
  readonly start: number;
  readonly blockCount: number;
  /** Index into frames. */
  readonly frame: number;
  readonly blockInFrame: number;
}

export interface ChunkImage {
  readonly chunk: number;
  readonly segments: readonly LogPlace[];
  readonly frames: readonly ChunkFrame[];
  /** Ascending, without overlap. */
  readonly extents: readonly ChunkExtent[];
}

export function encodeChunk(image: ChunkImage, zstdLevel: number): Uint8Array {
  const raw = encodeBody(image);
  const stored = compressWhenItPays(raw, zstdLevel);
  const writer = new FieldWriter(CHUNK_HEADER_BYTES + stored.bytes.length);
  writer.u32(0, CHUNK_MAGIC);
  writer.u8(4, stored.zstd ? 1 : 0);
  writer.u32(8, raw.length);
  writer.bytes.set(stored.bytes, CHUNK_HEADER_BYTES);
  writer.u32(12, chunkChecksum(image.chunk, writer.bytes));
  return writer.bytes;
}

export function decodeChunk(chunk: number, bytes: Uint8Array): ChunkImage {
  verifyChunk(chunk, bytes);
  const reader = new FieldReader(bytes);
  const rawBytes = reader.u32(8);
  if (rawBytes > CHUNK_RAW_BYTES_MAX) throw corrupt("a chunk is too large", { chunk, rawBytes });
  const stored = bytes.subarray(CHUNK_HEADER_BYTES);
  const body = decompress({ codec: reader.u8(4), stored, rawBytes });
  return decodeBody(chunk, new FieldReader(body), body.length);
}

/** Checks magic and checksum without decoding: who only passes a payload on needs no more. */
export function verifyChunk(chunk: number, bytes: Uint8Array): void {
  const reader = new FieldReader(bytes);
  if (reader.u32(0) !== CHUNK_MAGIC)
    throw corrupt("a chunk does not begin with its magic", { chunk });
  if (reader.u32(12) !== chunkChecksum(chunk, bytes)) {
    throw corrupt("a chunk's checksum does not match", { chunk });
  }
}

function chunkChecksum(chunk: number, payload: Uint8Array): number {
  const index = new FieldWriter(4);
  index.u32(0, chunk);
  const header = crc32c(payload.subarray(0, 12), crc32c(index.bytes));
  return crc32c(payload.subarray(CHUNK_HEADER_BYTES), header);
}

function encodeBody(image: ChunkImage): Uint8Array {
  const { segments, frames, extents } = image;
  const framesAt = BODY_HEADER_BYTES + segments.length * SEGMENT_ENTRY_BYTES;
  const extentsAt = framesAt + frames.length * FRAME_ENTRY_BYTES;
  const writer = new FieldWriter(extentsAt + extents.length * EXTENT_ENTRY_BYTES);
  writer.u32(0, segments.length);
  writer.u32(4, frames.length);
  writer.u32(8, extents.length);
  for (const [index, segment] of segments.entries()) {
    const at = BODY_HEADER_BYTES + index * SEGMENT_ENTRY_BYTES;
    writer.hex16(at, segment.volume);
    writer.u64(at + 16, segment.epoch);
    writer.u64(at + 24, segment.seq);
  }
  for (const [index, frame] of frames.entries()) {
    const at = framesAt + index * FRAME_ENTRY_BYTES;
    writer.u32(at, frame.segment);
    writer.u32(at + 4, frame.offset);
    writer.u32(at + 8, frame.length);
    writer.u8(at + 12, frame.blocks);
  }
  for (const [index, extent] of extents.entries()) {
    const at = extentsAt + index * EXTENT_ENTRY_BYTES;
    writer.u16(at, extent.start);
    writer.u16(at + 2, extent.blockCount - 1);
    writer.u16(at + 4, extent.frame);
    writer.u8(at + 6, extent.blockInFrame);
  }
  return writer.bytes;
}

function decodeBody(chunk: number, reader: FieldReader, bodyBytes: number): ChunkImage {
  const segmentCount = reader.u32(0);
  const frameCount = reader.u32(4);
  const extentCount = reader.u32(8);
  const framesAt = BODY_HEADER_BYTES + segmentCount * SEGMENT_ENTRY_BYTES;
  const extentsAt = framesAt + frameCount * FRAME_ENTRY_BYTES;
  if (extentsAt + extentCount * EXTENT_ENTRY_BYTES !== bodyBytes) {
    throw corrupt("a chunk's counts do not fit its size", { chunk });
  }
  const segments = Array.from({ length: segmentCount }, (_, index) =>
    decodeSegmentEntry(reader, BODY_HEADER_BYTES + index * SEGMENT_ENTRY_BYTES),
  );
  const frames = Array.from({ length: frameCount }, (_, index) =>
    decodeFrameEntry(reader, framesAt + index * FRAME_ENTRY_BYTES, segmentCount),
  );
  const extents: ChunkExtent[] = [];
  let end = 0;
  for (let index = 0; index < extentCount; index += 1) {
    const extent = decodeExtentEntry(reader, extentsAt + index * EXTENT_ENTRY_BYTES, frames);
    if (extent.start < end) throw corrupt("a chunk's extents are not in order", { chunk });
    end = extent.start + extent.blockCount;
    extents.push(extent);
  }
  if (end > CHUNK_BLOCKS) throw corrupt("an extent lies outside its chunk", { chunk });
  return { chunk, segments, frames, extents };
}

function decodeSegmentEntry(reader: FieldReader, at: number): LogPlace {
  const epoch = asEpoch(reader.u64(at + 16));
  const seq = asSeq(reader.u64(at + 24));
  if (epoch < 1 || epoch > NUMBER_MAX || seq < 1 || seq > NUMBER_MAX) {
    throw corrupt("a chunk names an impossible segment", { epoch, seq });
  }
  return { volume: asVolumeUid(reader.hex16(at)), epoch, seq };
}

function decodeFrameEntry(reader: FieldReader, at: number, segmentCount: number): ChunkFrame {
  const frame: ChunkFrame = {
    segment: reader.u32(at),
    offset: reader.u32(at + 4),
    length: reader.u32(at + 8),
    blocks: reader.u8(at + 12),
  };
  const valid =
    frame.segment < segmentCount &&
    frame.offset <= SEGMENT_BYTES_MAX &&
    frame.length > FRAME_HEADER_BYTES &&
    frame.length <= FRAME_STORED_BYTES_MAX &&
    frame.blocks >= 1 &&
    frame.blocks <= FRAME_BLOCKS_MAX;
  if (!valid) throw corrupt("a chunk names an impossible frame", { ...frame });
  return frame;
}

function decodeExtentEntry(
  reader: FieldReader,
  at: number,
  frames: readonly ChunkFrame[],
): ChunkExtent {
  const extent: ChunkExtent = {
    start: reader.u16(at),
    blockCount: reader.u16(at + 2) + 1,
    frame: reader.u16(at + 4),
    blockInFrame: reader.u8(at + 6),
  };
  const blocks = frames[extent.frame]?.blocks ?? 0;
  if (extent.blockInFrame + extent.blockCount > blocks) {
    throw corrupt("an extent lies outside its frame", { ...extent });
  }
  return extent;
}
