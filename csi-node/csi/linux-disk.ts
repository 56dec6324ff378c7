// What is on a block device, and formatting it: by the system's own programs, never in this
// process. A device that hangs would take the threads of Node's pool one by one.
import { WeirError } from "../../core/runtime/errors.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import { BLOCK_BYTES, endOfFilesystem, HEAD_BYTES, MARK, markOffset } from "./format-mark.ts";
import type { DeviceContent, FilesystemType } from "./mounter.ts";
import { programFault, runProgram, runToSuccess } from "./programs.ts";

const MINUTE_MS = 60_000;
const PROBE_TIMEOUT_MS = MINUTE_MS;
const FORMAT_TIMEOUT_MS = 15 * MINUTE_MS;

const KIB = 1024;
const MIB = 1024 * KIB;
const BLKID_NOTHING = 2;
const BLKID_AMBIVALENT = 8;

export interface Disk {
  readonly clock: Clock;
  readonly devicePath: string;
  readonly sizeBytes: number;
}

export async function contentOf(disk: Disk): Promise<DeviceContent> {
  const found = await probe(disk);
  if (await isUnfinished(disk, found)) return { kind: "unfinished" };
  if (found !== "nothing") return found;
  return (await isZeroAtBothEnds(disk))
    ? { kind: "empty" }
    : { kind: "unknown", what: "data without a known signature" };
}

/** Of a disk that is empty or unfinished. */
export async function format(disk: Disk, fsType: FilesystemType): Promise<void> {
  const { clock, devicePath, sizeBytes } = disk;
  const offset = markOffset(sizeBytes);
  if (offset === undefined) {
    throw new WeirError("invalid-argument", "the volume is too small for a filesystem", {
      details: { sizeBytes },
    });
  }
  if (await isMarked(disk, offset)) await discard(disk, offset);
  else await writeMark(disk, { offset, text: MARK });
  await runToSuccess(clock, {
    command: formatCommand({ devicePath, fsType, sizeBytes: offset }),
    timeoutMs: FORMAT_TIMEOUT_MS,
  });
  await writeMark(disk, { offset, text: "" });
}

export function erase(disk: Disk): Promise<void> {
  return discard(disk, disk.sizeBytes);
}

/**
 * Discarding is pointless on a device that reads zeroes, and takes minutes on a big one; so does
 * writing inode tables and journal at once.
 */
function formatCommand(options: {
  readonly devicePath: string;
  readonly fsType: FilesystemType;
  readonly sizeBytes: number;
}): readonly [string, ...string[]] {
  const { devicePath, fsType, sizeBytes } = options;
  if (fsType === "xfs") return ["mkfs.xfs", "-q", "-K", "-d", `size=${sizeBytes}`, devicePath];
  const lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
  return ["mkfs.ext4", "-q", "-m", "0", "-E", lazy, devicePath, `${sizeBytes / KIB}k`];
}

/** Our devices promise zeroes for what was discarded. */
async function discard({ clock, devicePath }: Disk, lengthBytes: number): Promise<void> {
  await runToSuccess(clock, {
    command: ["blkdiscard", "--offset", "0", "--length", String(lengthBytes), "--", devicePath],
    timeoutMs: FORMAT_TIMEOUT_MS,
  });
}

async function probe({ clock, devicePath }: Disk): Promise<DeviceContent | "nothing"> {
  const blkid = {
    command: ["blkid", "--probe", "--output", "export", "--", devicePath],
    timeoutMs: PROBE_TIMEOUT_MS,
  } as const;
  const end = await runProgram(clock, blkid);
  if (end.exitCode === 0) return describeSignature(end.stdout);
  if (end.exitCode === BLKID_NOTHING) return "nothing";
  if (end.exitCode === BLKID_AMBIVALENT) {
    return { kind: "unknown", what: "signatures of more than one kind" };
  }
  throw programFault(blkid, end);
}

/** `KEY=value` lines. A partition table has PTTYPE and no TYPE. */
export function describeSignature(text: string): DeviceContent {
  const pairs = text.split("\n").map((line) => /^(?<key>\w+)=(?<value>.*)$/u.exec(line)?.groups);
  const valueOf = (key: string): string | undefined =>
    pairs.find((pair) => pair?.["key"] === key)?.["value"];
  const type = valueOf("TYPE");
  if (type !== undefined && valueOf("USAGE") === "filesystem") {
    return { kind: "filesystem", fsType: type };
  }
  const table = valueOf("PTTYPE");
  return {
    kind: "unknown",
    what: type ?? (table === undefined ? "a signature" : `a ${table} partition table`),
  };
}

async function isUnfinished(disk: Disk, found: DeviceContent | "nothing"): Promise<boolean> {
  const offset = markOffset(disk.sizeBytes);
  if (offset === undefined || (found !== "nothing" && found.kind !== "filesystem")) return false;
  if (!(await isMarked(disk, offset))) return false;
  if (found === "nothing") return true;
  const head = await read(disk, { offset: 0, lengthBytes: HEAD_BYTES });
  const endBytes = endOfFilesystem(head);
  return endBytes !== undefined && endBytes <= offset;
}

async function isMarked(disk: Disk, offset: number): Promise<boolean> {
  const found = await read(disk, { offset, lengthBytes: MARK.length });
  return found.toString("latin1") === MARK;
}

async function read(
  { clock, devicePath }: Disk,
  { offset, lengthBytes }: { readonly offset: number; readonly lengthBytes: number },
): Promise<Buffer> {
  const range = ["--skip-bytes", String(offset), "--read-bytes", String(lengthBytes)];
  const text = await runToSuccess(clock, {
    command: ["od", "-An", "-v", "-tx1", ...range, "--", devicePath],
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  return Buffer.from(text.replaceAll(/\s/gu, ""), "hex");
}

/** The whole block; durable when it resolves. */
async function writeMark(
  { clock, devicePath }: Disk,
  { offset, text }: { readonly offset: number; readonly text: string },
): Promise<void> {
  const place = [`bs=${BLOCK_BYTES}`, `seek=${offset / BLOCK_BYTES}`, "count=1"];
  const how = ["iflag=fullblock", "conv=notrunc,nocreat,fsync", "status=none"];
  await runToSuccess(clock, {
    command: ["dd", `of=${devicePath}`, ...place, ...how],
    input: text.padEnd(BLOCK_BYTES, "\0"),
    timeoutMs: FORMAT_TIMEOUT_MS,
  });
}

async function isZeroAtBothEnds({ clock, devicePath, sizeBytes }: Disk): Promise<boolean> {
  for (const skip of [0, Math.max(0, sizeBytes - MIB)]) {
    const compare = {
      command: ["cmp", "-s", "-n", String(MIB), "-i", `${skip}:0`, devicePath, "/dev/zero"],
      timeoutMs: PROBE_TIMEOUT_MS,
    } as const;
    const end = await runProgram(clock, compare);
    if (end.exitCode > 1) throw programFault(compare, end);
    if (end.exitCode === 1) return false;
  }
  return true;
}
