// Goal: keys are exactly those of FORMAT.md, are read back, and list in the order the protocol
// relies on. Method: literal examples, random positions both ways, and a catalogue of strings that
// are no keys.

import * as fc from "fast-check";
import { expect, test } from "vitest";

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, asSeq, asSnapshotUid, asVolumeUid, comparePositions } from "../runtime/ids.ts";
import * as keys from "./keys.ts";

const UID = asVolumeUid("000102030405060708090a0b0c0d0e0f");
const number = fc
  .oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.maxSafeNat().map((n) => (n % 2 ** 52) + 1),
  )
  .map((n) => Math.min(n, 2 ** 52 - 1));
const place = fc
  .record({ epoch: number.map(asEpoch), seq: number.map(asSeq) })
  .map(({ epoch, seq }) => ({ volume: UID, epoch, seq }));
const sign = (value: number): number => Math.sign(value);
const byteOrder = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

test("keys look as the specification says", () => {
  const at = { volume: UID, epoch: asEpoch(7), seq: asSeq(42) };
  expect(keys.volumeKey(UID)).toBe(`volumes/${UID}/volume.json`);
  expect(keys.logKey(at)).toBe(`volumes/${UID}/log/0000000000000007/000000000000002a`);
  expect(keys.epochKey(UID, at.epoch)).toBe(`volumes/${UID}/epochs/ffffffffffff8`);
  expect(keys.checkpointKey(at)).toBe(`volumes/${UID}/checkpoints/ffffffffffff8-fffffffffffd5`);
  expect(keys.snapshotKey(asSnapshotUid(UID))).toBe(`snapshots/${UID}`);
  expect(keys.volumeNameKey("data-0")).toBe("names/volumes/data-0");
  expect(keys.snapshotNameKey("a.b")).toBe("names/snapshots/a.b");
});

test("every key is read back as what it was made of", () => {
  fc.assert(
    fc.property(place, (at) => {
      expect(keys.parseLogKey(keys.logKey(at))).toEqual(at);
      expect(keys.parseCheckpointKey(keys.checkpointKey(at))).toEqual(at);
      const epoch = { volume: UID, epoch: at.epoch };
      expect(keys.parseEpochKey(keys.epochKey(UID, at.epoch))).toEqual(epoch);
      expect(keys.parseVolumeOfKey(keys.logKey(at))).toBe(UID);
    }),
  );
  expect(keys.parseVolumeNameKey(keys.volumeNameKey("x"))).toBe("x");
  expect(keys.parseSnapshotNameKey(keys.snapshotNameKey("x"))).toBe("x");
  expect(keys.parseSnapshotKey(keys.snapshotKey(asSnapshotUid(UID)))).toBe(UID);
});

test("the log lists in order, epochs and checkpoints newest first", () => {
  fc.assert(
    fc.property(place, place, (a, b) => {
      const order = sign(comparePositions(a, b));
      expect(sign(byteOrder(keys.logKey(a), keys.logKey(b)))).toBe(order);
      expect(sign(byteOrder(keys.checkpointKey(b), keys.checkpointKey(a)))).toBe(order);
      const epochs = sign(byteOrder(keys.epochKey(UID, b.epoch), keys.epochKey(UID, a.epoch)));
      expect(epochs).toBe(sign(a.epoch - b.epoch));
      expect(sign(byteOrder(keys.logKey(a), keys.logKeyAfter(UID, b)))).toBe(order);
    }),
  );
});

test("a position that is no number of the format is refused", () => {
  for (const bad of [-1, 0.5, Number.NaN, 2 ** 52]) {
    expect(() => keys.epochKey(UID, asEpoch(bad))).toThrow(WeirError);
  }
});

test("names and uids that could lead elsewhere are refused", () => {
  for (const name of ["", "-a", "a-", "A", "a/b", "..", ".a", "a".repeat(254), "a b", "a_b"]) {
    expect(() => keys.volumeNameKey(name)).toThrow(WeirError);
  }
  for (const uid of ["", "..", "0".repeat(31), "G".repeat(32), `${"0".repeat(32)}/`]) {
    expect(() => keys.volumeKey(asVolumeUid(uid))).toThrow(WeirError);
  }
});

test("other strings are no keys", () => {
  const log = `volumes/${UID}/log`;
  const strangers = [
    "",
    "volumes",
    "volumes/",
    `volumes/${UID}`,
    `${log}/1/2`,
    `${log}/${"0".repeat(16)}/${"0".repeat(16)}`,
    `${log}/${"f".repeat(16)}/0000000000000001`,
    `${log}/0000000000000001`,
    `${log}/0000000000000001/0000000000000001/x`,
    `volumes/${UID}/epochs/fffffffffffff`,
    `volumes/${UID}/epochs/xyz`,
    `volumes/${UID}/checkpoints/0000000000001`,
    "snapshots/x",
    "names/volumes/A",
  ];
  const parsers = [
    keys.parseLogKey,
    keys.parseEpochKey,
    keys.parseCheckpointKey,
    keys.parseSnapshotKey,
    keys.parseVolumeNameKey,
    keys.parseSnapshotNameKey,
  ];
  const taken = strangers.filter((key) => parsers.some((parse) => parse(key) !== undefined));
  expect(taken).toEqual([]);
  expect(() => keys.expectKey(undefined, "x")).toThrow(WeirError);
});
