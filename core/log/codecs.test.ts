// Goal: the rules behind the checksums hold: versions, limits, order; and sizes are capped before
// anything is allocated. Method: objects that are valid but for one thing. Random damage is in
// decoders.prop.test.ts.

import { zstdCompressSync } from "node:zlib";

import { expect, test } from "vitest";

import { asEpoch } from "../runtime/ids.ts";
import { decodeCheckpointRoot } from "./checkpoint-codec.ts";
import { crc32c } from "./crc32c.ts";
import { compressWhenItPays, decodeFrame, decompress, encodeFrame } from "./frame-codec.ts";
import * as golden from "./golden/contents.ts";
import { BLOCK_BYTES } from "./limits.ts";
import { decodeVolumeRecord, encodeRecord } from "./records.ts";
import type { SegmentExtent } from "./segment-codec.ts";
import { decodeLogHeader, decodeSegmentIndex, encodeSeal, encodeSegment } from "./segment-codec.ts";

const corrupt = expect.objectContaining({ code: "object-corrupt" });
const unknown = expect.objectContaining({ code: "format-unknown" });
const identity = { ...golden.SEGMENT, offset: 128 };

const segment = (extents: readonly SegmentExtent[]): Uint8Array =>
  encodeSegment({ identity: golden.SEGMENT, frames: golden.FRAMES, extents, zstdLevel: 1 });

/** Sets a u32 and makes the header's checksum right again. */
function withField(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const view = new DataView(copy.buffer);
  view.setUint32(at, value, true);
  view.setUint32(124, crc32c(copy.subarray(0, 124)), true);
  return copy;
}

test("a newer version or an unknown flag is named as such, a damaged one is not", () => {
  const bytes = segment([]);
  const checkpoint = golden.encodeGoldenCheckpoint(new Uint8Array(20));
  expect(() => decodeLogHeader(withField(bytes, 8, 2))).toThrow(unknown);
  expect(() => decodeLogHeader(withField(bytes, 120, 1))).toThrow(unknown);
  expect(() => decodeLogHeader(withField(bytes, 8, 0))).toThrow(corrupt);
  expect(() => decodeLogHeader(withField(bytes, 12, 3))).toThrow(corrupt);
  expect(() => decodeCheckpointRoot(withField(checkpoint, 8, 2))).toThrow(unknown);
  expect(() => decodeCheckpointRoot(withField(checkpoint, 12, 1))).toThrow(unknown);
  const newer = Uint8Array.from(bytes).fill(2, 8, 9);
  expect(() => decodeLogHeader(newer)).toThrow(corrupt);
});

test("a record may have fields we do not know, but not a format we do not know", () => {
  const record = encodeRecord(golden.VOLUME_RECORD);
  const more = JSON.stringify({ ...golden.VOLUME_RECORD, colour: "blue" });
  expect(decodeVolumeRecord(Buffer.from(more))).toEqual(golden.VOLUME_RECORD);
  const newer = JSON.stringify({ ...golden.VOLUME_RECORD, format: 2 });
  expect(() => decodeVolumeRecord(Buffer.from(newer))).toThrow(unknown);
  expect(() => decodeVolumeRecord(record.subarray(0, record.length / 2))).toThrow(corrupt);
  expect(() => decodeVolumeRecord(new Uint8Array(100_000))).toThrow(corrupt);
});

test("an object at another place than its own is refused", () => {
  const bytes = segment([]);
  const elsewhere = { ...golden.SEGMENT, epoch: asEpoch(8) };
  expect(() => decodeSegmentIndex(bytes, elsewhere)).toThrow(corrupt);
  const seal = encodeSeal(golden.SEAL);
  expect(() => decodeSegmentIndex(seal)).toThrow(corrupt);
  const byLower = encodeSeal({ ...golden.SEAL, sealedByEpoch: asEpoch(7) });
  expect(() => decodeLogHeader(byLower)).toThrow(corrupt);
});

test.each<[string, SegmentExtent]>([
  ["overlap another", { kind: "zeroes", startBlock: 9, blockCount: 2 }],
  ["be empty", { kind: "zeroes", startBlock: 20, blockCount: 0 }],
  ["lie behind the largest volume", { kind: "zeroes", startBlock: 2 ** 34, blockCount: 1 }],
  ["name no frame", { kind: "data", startBlock: 20, blockCount: 1, frame: 2, blockInFrame: 0 }],
  ["leave its frame", { kind: "data", startBlock: 20, blockCount: 2, frame: 1, blockInFrame: 2 }],
])("an extent must not %s", (_, extent) => {
  expect(decodeSegmentIndex(segment(golden.EXTENTS)).extents).toEqual(golden.EXTENTS);
  expect(() => decodeSegmentIndex(segment([...golden.EXTENTS, extent]))).toThrow(corrupt);
});

test("a frame decodes only as itself", () => {
  const blocks = new Uint8Array(2 * BLOCK_BYTES).fill(7);
  const bytes = encodeFrame({ identity, blocks, zstdLevel: 1 });
  const decode = (at: typeof identity, count: number, part = bytes): Uint8Array =>
    decodeFrame({ identity: at, blocks: count, bytes: part });
  expect(Buffer.compare(decode(identity, 2), blocks)).toBe(0);
  expect(() => decode({ ...identity, offset: 160 }, 2)).toThrow(corrupt);
  expect(() => decode({ ...identity, volume: golden.PARENT }, 2)).toThrow(corrupt);
  expect(() => decode({ ...identity, epoch: asEpoch(9) }, 2)).toThrow(corrupt);
  expect(() => decode(identity, 3)).toThrow(corrupt);
  expect(() => decode(identity, 2, bytes.subarray(1))).toThrow(corrupt);
  expect(() => decode(identity, 2, bytes.subarray(0, -1))).toThrow(corrupt);
});

test("compression is used when it saves a tenth, and not before", () => {
  expect(compressWhenItPays(golden.FRAMES[0] ?? new Uint8Array(), 3).zstd).toBe(false);
  expect(compressWhenItPays(golden.FRAMES[1] ?? new Uint8Array(), 3).zstd).toBe(true);
});

test("a decompression bomb stops at the expected size", () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  expect(bomb.length).toBeLessThan(10_000);
  const before = process.memoryUsage().arrayBuffers;
  expect(() => decompress({ codec: 1, stored: bomb, rawBytes: BLOCK_BYTES })).toThrow(corrupt);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
  const short = zstdCompressSync(Buffer.alloc(100));
  expect(() => decompress({ codec: 1, stored: short, rawBytes: BLOCK_BYTES })).toThrow(corrupt);
  expect(() => decompress({ codec: 2, stored: short, rawBytes: 100 })).toThrow(corrupt);
  expect(() => decompress({ codec: 0, stored: short, rawBytes: 100 })).toThrow(corrupt);
});

test("counts are checked before the table is looked at", () => {
  const huge = withField(withField(segment([]), 96, 0xffff_ffff), 112, 0xffff_fff0);
  expect(() => decodeLogHeader(huge)).toThrow(corrupt);
  const root = golden.encodeGoldenCheckpoint(new Uint8Array(20));
  expect(() => decodeCheckpointRoot(withField(root, 100, 0xffff_ffff))).toThrow(corrupt);
  expect(() => decodeCheckpointRoot(withField(root, 96, 0))).toThrow(corrupt);
});

test("a value that does not fit its field is a defect, not a silent wrap", () => {
  const bad = { ...golden.SEGMENT, journalEnd: 2 ** 53 };
  expect(() => encodeSegment({ identity: bad, frames: [], extents: [], zstdLevel: 1 })).toThrow(
    expect.objectContaining({ code: "internal" }),
  );
});
