// Goal: no bytes whatever make a decoder fail in another way than object-corrupt or format-unknown,
// and no damage under a checksum passes (I8). Method: random bytes; valid objects with random
// damage, also with the checksums made right again, so that the checks behind them are reached;
// every single bit of the golden objects flipped.

import { readFileSync } from "node:fs";

import * as fc from "fast-check";
import { expect, test } from "vitest";

import { WeirError } from "../runtime/errors.ts";
import { decodeCheckpointRoot } from "./checkpoint-codec.ts";
import { decodeChunk, verifyChunk } from "./chunk-codec.ts";
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
const SEGMENT = read("segment-v1.bin");
const CHECKPOINT = read("checkpoint-v1.bin");
const CHUNK = read("chunk-v1.bin");
const { frames } = decodeSegmentIndex(SEGMENT);

type Verdict = "decoded" | "object-corrupt" | "format-unknown" | "surprise";

function verdictOf(decode: () => unknown): Verdict {
  try {
    decode();
    return "decoded";
  } catch (cause) {
    const known = cause instanceof WeirError ? cause.code : undefined;
    if (known === "object-corrupt" || known === "format-unknown") return known;
    return "surprise";
  }
}

/** Everything a reader of a segment would look at. */
function decodeWholeSegment(bytes: Uint8Array): void {
  const index = decodeSegmentIndex(bytes, golden.SEGMENT);
  for (const { offset, length, blocks } of index.frames) {
    const part = bytes.subarray(offset, offset + length);
    decodeFrame({ identity: { ...golden.SEGMENT, offset }, blocks, bytes: part });
  }
}

function decodeWholeCheckpoint(bytes: Uint8Array): void {
  const root = decodeCheckpointRoot(bytes, golden.CHECKPOINT);
  for (const { chunk, object, offset, length, crc } of root.chunks) {
    if (object !== 0) continue;
    const payload = bytes.subarray(offset, offset + length);
    if (crc32c(payload) !== crc) throw new WeirError("object-corrupt", "the payload");
    decodeChunk(chunk, payload);
  }
}

const decoders: readonly ((bytes: Uint8Array) => unknown)[] = [
  (bytes) => decodeLogHeader(bytes),
  (bytes) => decodeSegmentIndex(bytes),
  (bytes) => decodeCheckpointRoot(bytes),
  (bytes) => decodeChunk(3, bytes),
  (bytes) => verifyChunk(3, bytes),
  (bytes) => decodeFrame({ identity: { ...golden.SEGMENT, offset: 232 }, blocks: 1, bytes }),
  decodeVolumeRecord,
  decodeEpochRecord,
  decodeSnapshotRecord,
  decodeNameEntry,
];

test("random bytes never decode and never surprise", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.constantFrom(...decoders),
      (bytes, decode) => {
        expect(verdictOf(() => decode(bytes))).toBe("object-corrupt");
      },
    ),
    { numRuns: 2000 },
  );
});

test("random JSON never surprises", () => {
  const records = [decodeVolumeRecord, decodeEpochRecord, decodeSnapshotRecord, decodeNameEntry];
  const json = fc.oneof(
    fc.jsonValue(),
    fc.record({ format: fc.integer() }),
    fc.jsonValue().map((sizeBytes) => Object.assign({}, golden.VOLUME_RECORD, { sizeBytes })),
    fc.jsonValue().map((position) => Object.assign({}, golden.SNAPSHOT_RECORD, { position })),
  );
  fc.assert(
    fc.property(json, fc.constantFrom(...records), (value, decode) => {
      const bytes = Buffer.from(JSON.stringify(value));
      expect(verdictOf(() => decode(bytes))).not.toBe("surprise");
    }),
    { numRuns: 1000 },
  );
});

/** A few bytes overwritten, cut off or added. */
const damage = fc.record({
  writes: fc.array(fc.tuple(fc.nat(5000), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
  keep: fc.option(fc.nat(5000), { nil: undefined }),
  extra: fc.nat(20),
});

function damaged(valid: Uint8Array, how: typeof damage extends fc.Arbitrary<infer D> ? D : never) {
  const bytes = new Uint8Array(valid.length + how.extra);
  bytes.set(valid);
  for (const [at, value] of how.writes) bytes[at % bytes.length] = value;
  return how.keep === undefined ? bytes : bytes.slice(0, how.keep % (bytes.length + 1));
}

/** Makes the checksums right again where there is room for them. */
function repaired(bytes: Uint8Array, tableFrom: number): Uint8Array {
  if (bytes.length < 128) return bytes;
  const view = new DataView(bytes.buffer);
  const tableBytes = view.getUint32(112, true);
  view.setUint32(116, crc32c(bytes.subarray(tableFrom, tableFrom + tableBytes)), true);
  view.setUint32(124, crc32c(bytes.subarray(0, 124)), true);
  return bytes;
}

test("damaged objects never surprise, with wrong checksums or right ones", () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(damage, fc.boolean(), (how, repair) => {
      const fix = (bytes: Uint8Array): Uint8Array => (repair ? repaired(bytes, 128) : bytes);
      seen.add(`${repair} ${verdictOf(() => decodeSegmentIndex(fix(damaged(SEGMENT, how))))}`);
      seen.add(`${repair} ${verdictOf(() => decodeCheckpointRoot(fix(damaged(CHECKPOINT, how))))}`);
      seen.add(`chunk ${verdictOf(() => decodeChunk(3, damaged(CHUNK, how)))}`);
    }),
    { numRuns: 3000 },
  );
  expect([...seen].filter((verdict) => verdict.endsWith("surprise"))).toEqual([]);
  // The run reached both sides of the checks, also behind the checksums.
  expect(seen).toContain("true object-corrupt");
  expect(seen).toContain("true decoded");
});

test("a chunk body that is damaged under a right checksum never surprises", () => {
  // Raw, so that the damage lands in the tables and not in zstd.
  const raw = rawChunk();
  fc.assert(
    fc.property(damage, (how) => {
      const bytes = damaged(raw, how);
      if (bytes.length >= 16) new DataView(bytes.buffer).setUint32(12, chunkCrc(bytes), true);
      expect(verdictOf(() => decodeChunk(3, bytes))).not.toBe("surprise");
    }),
    { numRuns: 3000 },
  );
});

function chunkCrc(bytes: Uint8Array): number {
  const index = Uint8Array.of(3, 0, 0, 0);
  return crc32c(bytes.subarray(16), crc32c(bytes.subarray(0, 12), crc32c(index)));
}

/** The smallest chunk: one segment, frame and extent do not pay to compress. */
function rawChunk(): Uint8Array {
  const bytes = new Uint8Array(16 + 16 + 32 + 16 + 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x4b484357, true);
  view.setUint32(8, bytes.length - 16, true);
  for (const at of [16, 20, 24]) view.setUint32(at, 1, true);
  for (const at of [48, 56]) view.setUint32(at, 1, true);
  view.setUint32(68, 128, true);
  view.setUint32(72, 4128, true);
  view.setUint8(76, 1);
  view.setUint32(12, chunkCrc(bytes), true);
  return bytes;
}

test("the hand-made raw chunk is valid", () => {
  expect(decodeChunk(3, rawChunk()).extents).toEqual([
    { start: 0, blockCount: 1, frame: 0, blockInFrame: 0 },
  ]);
});

/** The bits whose flip goes unnoticed: [bit number, verdict]. */
function flipEveryBit(
  valid: Uint8Array,
  decode: (bytes: Uint8Array) => void,
  from = 0,
): readonly number[] {
  const missed: number[] = [];
  const bytes = Uint8Array.from(valid);
  for (let bit = from * 8; bit < valid.length * 8; bit += 1) {
    const at = bit >>> 3;
    const before = bytes[at] ?? 0;
    bytes[at] = before ^ (1 << (bit & 7));
    const verdict = verdictOf(() => decode(bytes));
    if (verdict === "decoded" || verdict === "surprise") missed.push(bit);
    bytes[at] = before;
  }
  return missed;
}

test("every flipped bit of a segment is noticed", () => {
  expect(verdictOf(() => decodeWholeSegment(SEGMENT))).toBe("decoded");
  expect(flipEveryBit(SEGMENT, decodeWholeSegment)).toEqual([]);
});

test("every flipped bit of a SEAL, a checkpoint and a chunk is noticed", () => {
  expect(verdictOf(() => decodeWholeCheckpoint(CHECKPOINT))).toBe("decoded");
  expect(flipEveryBit(CHECKPOINT, decodeWholeCheckpoint)).toEqual([]);
  expect(flipEveryBit(read("seal-v1.bin"), (bytes) => decodeLogHeader(bytes))).toEqual([]);
  // Of a chunk on its own, bytes 5 to 7 are reserved and under the checksum like the rest.
  expect(flipEveryBit(CHUNK, (bytes) => decodeChunk(3, bytes))).toEqual([]);
});

test("the bit flip test notices a decoder that skips a checksum", () => {
  const careless = (bytes: Uint8Array): void => {
    const index = decodeSegmentIndex(bytes, golden.SEGMENT);
    // Looks at the first frame only.
    const [first] = index.frames;
    if (first === undefined) return;
    const part = bytes.subarray(first.offset, first.offset + first.length);
    const identity = { ...golden.SEGMENT, offset: first.offset };
    decodeFrame({ identity, blocks: first.blocks, bytes: part });
  };
  const second = frames[1] ?? { offset: 0, length: 0 };
  expect(flipEveryBit(SEGMENT, careless, second.offset).length).toBe(second.length * 8);
});
