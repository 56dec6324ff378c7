// Goal: what release 1 wrote stays readable for ever, and this release writes the same. Method:
// decode the golden files and compare with what they were made of; encode that again and compare
// byte by byte, but for content under zstd, whose bytes may differ between zstd releases.

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { decodeCheckpointRoot } from "./checkpoint-codec.ts";
import { decodeChunk, encodeChunk } from "./chunk-codec.ts";
import { crc32c } from "./crc32c.ts";
import { decodeFrame } from "./frame-codec.ts";
import * as golden from "./golden/contents.ts";
import {
  decodeEpochRecord,
  decodeNameEntry,
  decodeSnapshotRecord,
  decodeVolumeRecord,
} from "./records.ts";
import { decodeLogHeader, decodeSegmentIndex } from "./segment-codec.ts";

const read = (name: string): Uint8Array =>
  Uint8Array.from(readFileSync(new URL(`golden/${name}`, import.meta.url)));

test("the segment's header, table and frames are what went into it", () => {
  const bytes = read("segment-v1.bin");
  const { header, frames, extents } = decodeSegmentIndex(bytes, golden.SEGMENT);
  expect(header).toMatchObject({ ...golden.SEGMENT, kind: "segment", tableBytes: 104 });
  expect(extents).toEqual(golden.EXTENTS);
  expect(frames.map(({ offset, blocks }) => ({ offset, blocks }))).toEqual([
    { offset: 232, blocks: 1 },
    { offset: 4360, blocks: 3 },
  ]);
  const codecs = frames.map((frame) => bytes[frame.offset + 4]);
  expect(codecs).toEqual([0, 1]);
  for (const [index, { offset, length, blocks }] of frames.entries()) {
    const part = bytes.subarray(offset, offset + length);
    const content = decodeFrame({ identity: { ...golden.SEGMENT, offset }, blocks, bytes: part });
    expect(Buffer.compare(content, golden.FRAMES[index] ?? new Uint8Array())).toBe(0);
  }
});

test("the segment index can be read from header and table alone", () => {
  const bytes = read("segment-v1.bin");
  expect(decodeSegmentIndex(bytes.subarray(0, 232))).toEqual(decodeSegmentIndex(bytes));
});

test("the SEAL is what went into it", () => {
  const header = decodeLogHeader(read("seal-v1.bin"), golden.SEAL);
  expect(header).toEqual({ ...golden.SEAL, kind: "seal" });
});

test("the chunk and the checkpoint that holds it are what went into them", () => {
  const payload = read("chunk-v1.bin");
  expect(decodeChunk(golden.CHUNK.chunk, payload)).toEqual(golden.CHUNK);
  const bytes = read("checkpoint-v1.bin");
  const root = decodeCheckpointRoot(bytes, golden.CHECKPOINT);
  expect(root.header).toMatchObject({ ...golden.CHECKPOINT, objectCount: 2, chunkCount: 2 });
  expect(root.objects).toEqual(golden.CHECKPOINT_OBJECTS);
  const own = { chunk: 3, object: 0, offset: 240, length: payload.length, crc: crc32c(payload) };
  expect(root.chunks).toEqual([golden.CHECKPOINT_INHERITED, own]);
  expect(Buffer.compare(bytes.subarray(240), payload)).toBe(0);
});

test("the records are what went into them", () => {
  expect(decodeVolumeRecord(read("volume-v1.json"))).toEqual(golden.VOLUME_RECORD);
  expect(decodeEpochRecord(read("epoch-v1.json"))).toEqual(golden.EPOCH_RECORD);
  expect(decodeSnapshotRecord(read("snapshot-v1.json"))).toEqual(golden.SNAPSHOT_RECORD);
  expect(decodeNameEntry(read("name-v1.json"))).toEqual(golden.NAME_ENTRY);
});

test("this release encodes the same bytes, and under zstd the same content", () => {
  const encoded = golden.encodeGoldenFiles();
  expect(encoded.size).toBe(8);
  const records = ["volume-v1.json", "epoch-v1.json", "snapshot-v1.json", "name-v1.json"];
  const differing = ["seal-v1.bin", ...records].filter((name) => {
    return Buffer.compare(encoded.get(name) ?? new Uint8Array(), read(name)) !== 0;
  });
  expect(differing).toEqual([]);
  const segment = encoded.get("segment-v1.bin") ?? new Uint8Array();
  // Frame 1, the compressed one, begins at 4360; what is before it must not differ but for its
  // length and the checksums over that.
  expect(
    Buffer.compare(segment.subarray(232, 4360), read("segment-v1.bin").subarray(232, 4360)),
  ).toBe(0);
  expect(decodeSegmentIndex(segment).extents).toEqual(golden.EXTENTS);
  expect(decodeChunk(3, encodeChunk(golden.CHUNK, 3))).toEqual(golden.CHUNK);
});
