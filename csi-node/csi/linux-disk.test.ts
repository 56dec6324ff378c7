// Goal: a format that is broken off, at whatever step, is told from a user's data by the disk
// alone, and what a user has is never called unfinished. Method: the system's own mkfs on sparse
// files, which lack only the discarding of a device: that is for the guest (test/vm/csi-node.sh).
// What a broken off format leaves is made from the bytes of a finished one, as many of them as
// were written by then.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { realClock } from "../../core/runtime/real-ports.ts";
import { endOfFilesystem, HEAD_BYTES, MARK, markOffset } from "./format-mark.ts";
import { contentOf, format, type Disk } from "./linux-disk.ts";

const MIB = 1024 ** 2;
const SIZES = { ext4: 64 * MIB, xfs: 320 * MIB } as const;
const CHUNK = 64 * 1024;
const ZEROES = Buffer.alloc(CHUNK);

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-disk-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function blankDisk(name: string, sizeBytes: number): Disk {
  const devicePath = join(folder, name);
  writeFileSync(devicePath, "");
  truncateSync(devicePath, sizeBytes);
  return { clock: realClock, devicePath, sizeBytes };
}

function put({ devicePath }: Disk, offset: number, bytes: Buffer): void {
  const file = openSync(devicePath, "r+");
  writeSync(file, bytes, 0, bytes.length, offset);
  closeSync(file);
}

/** All but the zeroes, so that the disk stays sparse: most of a fresh file system is nothing. */
function copy(from: Disk, to: Disk, { start, end }: { start: number; end: number }): void {
  const bytes = get(from, start, end - start);
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const chunk = bytes.subarray(at, at + CHUNK);
    if (!chunk.equals(ZEROES.subarray(0, chunk.length))) put(to, start + at, chunk);
  }
}

function get({ devicePath }: Disk, offset: number, length: number): Buffer {
  const file = openSync(devicePath, "r");
  const bytes = Buffer.alloc(length);
  readSync(file, bytes, 0, length, offset);
  closeSync(file);
  return bytes;
}

function putMark(disk: Disk): void {
  put(disk, offsetOn(disk), Buffer.from(MARK));
}

function offsetOn({ sizeBytes }: Disk): number {
  return markOffset(sizeBytes) ?? Number.NaN;
}

describe("the mark", () => {
  test("is these bytes, 63 blocks before the end", () => {
    const text = "weir: the first format of this volume has not ended, and nobody used it yet\n";
    expect(MARK).toBe(text);
    expect(markOffset(64 * MIB)).toBe(64 * MIB - 63 * 4096);
    expect(markOffset(64 * MIB + 4095)).toBe(64 * MIB - 63 * 4096);
    expect(markOffset(63 * 4096)).toBeUndefined();
  });

  test.each(["ext4", "xfs"] as const)("is not left by an %s that was finished", async (fsType) => {
    const disk = blankDisk("disk", SIZES[fsType]);
    expect(await contentOf(disk)).toStrictEqual({ kind: "empty" });
    await format(disk, fsType);
    expect(await contentOf(disk)).toStrictEqual({ kind: "filesystem", fsType });
    expect(get(disk, offsetOn(disk), 63 * 4096).every((byte) => byte === 0)).toBe(true);
    expect(endOfFilesystem(get(disk, 0, HEAD_BYTES))).toBe(BigInt(offsetOn(disk)));
  });

  test.each(["ext4", "xfs"] as const)("says so of any part of an %s", async (fsType) => {
    const whole = blankDisk("whole", SIZES[fsType]);
    await format(whole, fsType);
    const disk = blankDisk("disk", SIZES[fsType]);
    putMark(disk);
    expect(await contentOf(disk)).toStrictEqual({ kind: "unfinished" });
    const used = offsetOn(disk);
    const parts = 16;
    // From the end, so that the superblock comes last, as mkfs.ext4 does it.
    for (let part = parts - 1; part >= 0; part -= 1) {
      const start = Math.floor(used / parts) * part;
      const end = part === parts - 1 ? used : Math.floor(used / parts) * (part + 1);
      copy(whole, disk, { start, end });
      expect(await contentOf(disk), `part ${part}`).toStrictEqual({ kind: "unfinished" });
    }
    // As mkfs.xfs does it: the superblock first, and nothing else.
    const early = blankDisk("early", SIZES[fsType]);
    putMark(early);
    copy(whole, early, { start: 0, end: 4096 });
    expect(await contentOf(early)).toStrictEqual({ kind: "unfinished" });
  });
});

describe("what a user has", () => {
  test.each([
    ["ext4", ["mkfs.ext4", "-q", "-E", "nodiscard"]],
    ["xfs", ["mkfs.xfs", "-q", "-K"]],
  ] as const)("is an %s over a mark", async (fsType, [program, ...options]) => {
    const disk = blankDisk("disk", SIZES[fsType]);
    execFileSync(program, [...options, disk.devicePath], { stdio: "pipe" });
    putMark(disk);
    expect(await contentOf(disk)).toStrictEqual({ kind: "filesystem", fsType });
  });

  test("is any other signature over a mark", async () => {
    const disk = blankDisk("disk", SIZES.ext4);
    putMark(disk);
    execFileSync("mkswap", [disk.devicePath], { stdio: "pipe" });
    expect(await contentOf(disk)).toMatchObject({ kind: "unknown", what: "swap" });
  });

  test("is data without a signature where there is no mark", async () => {
    const disk = blankDisk("disk", SIZES.ext4);
    put(disk, 0, Buffer.from("data"));
    expect(await contentOf(disk)).toMatchObject({ kind: "unknown" });
    put(disk, offsetOn(disk), Buffer.from(MARK.toUpperCase()));
    expect(await contentOf(disk)).toMatchObject({ kind: "unknown" });
  });
});

test("a disk without room for a mark is refused", async () => {
  const disk = blankDisk("disk", 63 * 4096);
  await expect(format(disk, "ext4")).rejects.toMatchObject({ code: "invalid-argument" });
});
