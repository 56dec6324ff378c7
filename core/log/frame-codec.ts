// One frame: up to 32 blocks, compressed when that pays, verifiable on its own. Its checksum covers
// where it lies (volume, epoch, seq, offset), so bytes served for another frame never pass (I8).

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";

import type { Position, VolumeUid } from "../runtime/ids.ts";
import { corrupt, FieldReader, FieldWriter } from "./byte-fields.ts";
import { crc32c } from "./crc32c.ts";
import { BLOCK_BYTES, FRAME_BLOCKS_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES } from "./limits.ts";

const FRAME_MAGIC = 0x4d524657;
const CODEC_RAW = 0;
const CODEC_ZSTD = 1;
/** What decompression may allocate for its window: larger than any frame or chunk body needs. */
const ZSTD_WINDOW_LOG_MAX = 21;

/** Where a frame lies. */
export interface FrameIdentity extends Position {
  readonly volume: VolumeUid;
  /** From the start of the segment to the frame header. */
  readonly offset: number;
}

/** Encodes `blocks` (1 to 32 whole blocks); raw unless zstd saves at least a tenth. */
export function encodeFrame(options: {
  readonly identity: FrameIdentity;
  readonly blocks: Uint8Array;
  readonly zstdLevel: number;
}): Uint8Array {
  const { identity, blocks, zstdLevel } = options;
  const stored = compressWhenItPays(blocks, zstdLevel);
  const writer = new FieldWriter(FRAME_HEADER_BYTES + stored.bytes.length);
  writer.u32(0, FRAME_MAGIC);
  writer.u8(4, stored.zstd ? CODEC_ZSTD : CODEC_RAW);
  writer.u8(5, blocks.length / BLOCK_BYTES);
  writer.u32(8, stored.bytes.length);
  writer.bytes.set(stored.bytes, FRAME_HEADER_BYTES);
  writer.u32(28, frameChecksum(identity, writer.bytes));
  return writer.bytes;
}

/** Verifies and decodes one frame as fetched: `bytes` is exactly what the segment's table names. */
export function decodeFrame(options: {
  readonly identity: FrameIdentity;
  /** Blocks in the frame according to the segment's table. */
  readonly blocks: number;
  readonly bytes: Uint8Array;
}): Uint8Array {
  const { identity, blocks, bytes } = options;
  const reader = new FieldReader(bytes);
  const storedBytes = reader.u32(8);
  if (reader.u32(0) !== FRAME_MAGIC) throw corrupt("a frame does not begin with its magic");
  if (storedBytes !== bytes.length - FRAME_HEADER_BYTES) throw corrupt("a frame's length is wrong");
  if (blocks < 1 || blocks > FRAME_BLOCKS_MAX || reader.u8(5) !== blocks) {
    throw corrupt("a frame's block count is wrong");
  }
  if (reader.u32(28) !== frameChecksum(identity, bytes)) {
    throw corrupt("a frame's checksum does not match", { offset: identity.offset });
  }
  return decompress({
    codec: reader.u8(4),
    stored: bytes.subarray(FRAME_HEADER_BYTES),
    rawBytes: blocks * BLOCK_BYTES,
  });
}

/** The longest a frame may be as stored: raw, with its header. */
export const FRAME_STORED_BYTES_MAX = FRAME_BYTES_MAX + FRAME_HEADER_BYTES;

/** Compresses, but keeps the bytes raw when that does not save at least a tenth. */
export function compressWhenItPays(
  raw: Uint8Array,
  level: number,
): { readonly zstd: boolean; readonly bytes: Uint8Array } {
  const packed = zstdCompressSync(raw, {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: raw.length,
  });
  if (packed.length > raw.length - raw.length / 10) return { zstd: false, bytes: raw };
  return { zstd: true, bytes: packed };
}

/** Undoes compressWhenItPays. The result is exactly `rawBytes` long, or the object is corrupt. */
export function decompress(options: {
  readonly codec: number;
  readonly stored: Uint8Array;
  readonly rawBytes: number;
}): Uint8Array {
  const { codec, stored, rawBytes } = options;
  if (codec === CODEC_RAW) {
    if (stored.length !== rawBytes) throw corrupt("raw content has the wrong length");
    return stored;
  }
  if (codec !== CODEC_ZSTD) throw corrupt("its codec is not known", { codec });
  const raw = unpack(stored, rawBytes);
  if (raw.length !== rawBytes) throw corrupt("decompressed content has the wrong length");
  return raw;
}

function unpack(stored: Uint8Array, rawBytes: number): Uint8Array {
  try {
    return zstdDecompressSync(stored, {
      maxOutputLength: rawBytes,
      params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
    });
  } catch (cause) {
    const error = corrupt("its content does not decompress");
    error.cause = cause;
    throw error;
  }
}

function frameChecksum(identity: FrameIdentity, frame: Uint8Array): number {
  const writer = new FieldWriter(36);
  writer.hex16(0, identity.volume);
  writer.u64(16, identity.epoch);
  writer.u64(24, identity.seq);
  writer.u32(32, identity.offset);
  const header = crc32c(frame.subarray(0, 28), crc32c(writer.bytes));
  return crc32c(frame.subarray(FRAME_HEADER_BYTES), header);
}
