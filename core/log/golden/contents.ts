// What the golden files hold. Small, made by hand, and described in FORMAT.md for readers in other
// languages: the C++ tests decode the same files. Never change a value here: add a new version.

import { asEpoch, asNonce, asSeq, asSnapshotUid, asVolumeUid } from "../../runtime/ids.ts";
import type { CheckpointIdentity, ChunkEntry } from "../checkpoint-codec.ts";
import { encodeCheckpointRoot, rootBytesFor } from "../checkpoint-codec.ts";
import type { ChunkImage } from "../chunk-codec.ts";
import { encodeChunk } from "../chunk-codec.ts";
import { crc32c } from "../crc32c.ts";
import { BLOCK_BYTES } from "../limits.ts";
import type { EpochRecord, NameEntry, SnapshotRecord, VolumeRecord } from "../records.ts";
import { encodeRecord } from "../records.ts";
import type { SealHeader, SegmentExtent, SegmentIdentity } from "../segment-codec.ts";
import { encodeSeal, encodeSegment } from "../segment-codec.ts";

const VOLUME = asVolumeUid("000102030405060708090a0b0c0d0e0f");
export const PARENT = asVolumeUid("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
const SNAPSHOT = asSnapshotUid("505152535455565758595a5b5c5d5e5f");
const NONCE = asNonce("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
const JOURNAL = asNonce("1f1e1d1c1b1a19181716151413121110");
const CREATED_AT_MS = 1_767_225_600_000;
const ZSTD_LEVEL = 3;
/** 10 GiB. */
const SIZE_BYTES = 10 * 2 ** 30;

export const SEGMENT: SegmentIdentity = {
  volume: VOLUME,
  epoch: asEpoch(7),
  seq: asSeq(42),
  nonce: NONCE,
  journalId: JOURNAL,
  journalEnd: 123_456_789,
  volumeSizeBytes: SIZE_BYTES,
  createdAtMs: CREATED_AT_MS,
};

/** Frame 0 does not compress and is stored raw; frame 1 does. */
export const FRAMES: readonly Uint8Array[] = [noise(1, 1), pattern(3)];

export const EXTENTS: readonly SegmentExtent[] = [
  { kind: "data", startBlock: 10, blockCount: 1, frame: 0, blockInFrame: 0 },
  { kind: "data", startBlock: 100, blockCount: 2, frame: 1, blockInFrame: 0 },
  { kind: "zeroes", startBlock: 200, blockCount: 5 },
  { kind: "data", startBlock: 16_383, blockCount: 1, frame: 1, blockInFrame: 2 },
  { kind: "zeroes", startBlock: 16_384, blockCount: 100_000 },
];

export const SEAL: Omit<SealHeader, "kind"> = {
  volume: VOLUME,
  epoch: asEpoch(7),
  seq: asSeq(43),
  nonce: NONCE,
  sealedByEpoch: asEpoch(8),
  createdAtMs: CREATED_AT_MS,
};

/** The map of chunk 3: frames of two segments, one of them of the parent volume. */
export const CHUNK: ChunkImage = {
  chunk: 3,
  segments: [
    { volume: VOLUME, epoch: asEpoch(7), seq: asSeq(42) },
    { volume: PARENT, epoch: asEpoch(2), seq: asSeq(9) },
  ],
  frames: [
    { segment: 0, offset: 232, length: 4128, blocks: 1 },
    { segment: 0, offset: 4360, length: 58, blocks: 3 },
    { segment: 1, offset: 8192, length: 65_568, blocks: 32 },
  ],
  extents: [
    { start: 0, blockCount: 1, frame: 0, blockInFrame: 0 },
    { start: 5, blockCount: 2, frame: 1, blockInFrame: 1 },
    { start: 100, blockCount: 32, frame: 2, blockInFrame: 0 },
    { start: 16_383, blockCount: 1, frame: 1, blockInFrame: 0 },
  ],
};

export const CHECKPOINT: CheckpointIdentity = { ...SEGMENT };
export const CHECKPOINT_OBJECTS = [
  { volume: VOLUME, epoch: SEGMENT.epoch, seq: SEGMENT.seq },
  { volume: PARENT, epoch: asEpoch(2), seq: asSeq(9) },
];
/** Chunk 0 lies in the parent's checkpoint, chunk 3 in this one. */
export const CHECKPOINT_INHERITED: ChunkEntry = {
  chunk: 0,
  object: 1,
  offset: 208,
  length: 96,
  crc: 0xdeadbeef,
};

export const VOLUME_RECORD: VolumeRecord = {
  format: 1,
  uid: VOLUME,
  name: "postgres-data-0",
  sizeBytes: SIZE_BYTES,
  createdAtMs: CREATED_AT_MS,
  nonce: NONCE,
  parent: {
    volume: PARENT,
    snapshot: SNAPSHOT,
    checkpoint: { volume: PARENT, epoch: asEpoch(2), seq: asSeq(9) },
    sizeBytes: SIZE_BYTES,
  },
};

export const EPOCH_RECORD: EpochRecord = {
  format: 1,
  volume: VOLUME,
  epoch: asEpoch(8),
  nonce: NONCE,
  writer: "node-a",
  claimedAtMs: CREATED_AT_MS,
  from: { epoch: asEpoch(7), seq: asSeq(42) },
};

export const SNAPSHOT_RECORD: SnapshotRecord = {
  format: 1,
  uid: SNAPSHOT,
  name: "before-upgrade",
  volume: PARENT,
  position: { epoch: asEpoch(2), seq: asSeq(9) },
  checkpoint: { volume: PARENT, epoch: asEpoch(2), seq: asSeq(9) },
  sizeBytes: SIZE_BYTES,
  createdAtMs: CREATED_AT_MS,
  nonce: NONCE,
};

export const NAME_ENTRY: NameEntry = { format: 1, uid: VOLUME, nonce: NONCE };

/** Every golden file as this release encodes it; zstd bytes may differ between zstd releases. */
export function encodeGoldenFiles(): ReadonlyMap<string, Uint8Array> {
  return new Map([
    [
      "segment-v1.bin",
      encodeSegment({
        identity: SEGMENT,
        frames: FRAMES,
        extents: EXTENTS,
        zstdLevel: ZSTD_LEVEL,
      }),
    ],
    ["seal-v1.bin", encodeSeal(SEAL)],
    ["chunk-v1.bin", encodeChunk(CHUNK, ZSTD_LEVEL)],
    ["checkpoint-v1.bin", encodeGoldenCheckpoint(encodeChunk(CHUNK, ZSTD_LEVEL))],
    ["volume-v1.json", encodeRecord(VOLUME_RECORD)],
    ["epoch-v1.json", encodeRecord(EPOCH_RECORD)],
    ["snapshot-v1.json", encodeRecord(SNAPSHOT_RECORD)],
    ["name-v1.json", encodeRecord(NAME_ENTRY)],
  ]);
}

export function encodeGoldenCheckpoint(payload: Uint8Array): Uint8Array {
  const own: ChunkEntry = {
    chunk: CHUNK.chunk,
    object: 0,
    offset: rootBytesFor(CHECKPOINT_OBJECTS.length, 2),
    length: payload.length,
    crc: crc32c(payload),
  };
  const root = encodeCheckpointRoot({
    identity: CHECKPOINT,
    objects: CHECKPOINT_OBJECTS,
    chunks: [CHECKPOINT_INHERITED, own],
  });
  return Buffer.concat([root, payload]);
}

/** Blocks that do not compress: xorshift32 from `seed`, one little-endian u32 per step. */
function noise(blocks: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(blocks * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  let state = seed;
  for (let offset = 0; offset < bytes.length; offset += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    view.setUint32(offset, state >>> 0, true);
  }
  return bytes;
}

/** Blocks that compress well: every byte of block n is n + 1. */
function pattern(blocks: number): Uint8Array {
  const bytes = new Uint8Array(blocks * BLOCK_BYTES);
  for (let block = 0; block < blocks; block += 1) {
    bytes.fill(block + 1, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  }
  return bytes;
}
