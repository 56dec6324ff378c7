// The Mounter of a real node. Mounts and filesystems by the system's own programs; what is seen by
// /proc and /sys. Nothing here reads or writes a volume's device in this process: a device that
// hangs would take the threads of Node's pool one by one.
import { constants } from "node:fs";
import { lstat, mkdir, open, readFile, realpath, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import { WeirError } from "../../core/runtime/errors.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import { contentOf, erase, format, type Disk } from "./linux-disk.ts";
import { parseMountTable } from "./mount-table.ts";
import type {
  BlockDevice,
  DeviceContent,
  FilesystemUsage,
  Mount,
  Mounter,
  PathKind,
} from "./mounter.ts";
import { runProgram, runToSuccess } from "./programs.ts";

const MINUTE_MS = 60_000;
/** Writes back all that is dirty, through the engine's journal. */
const UNMOUNT_TIMEOUT_MS = 15 * MINUTE_MS;
/** Replays the filesystem's journal. */
const MOUNT_TIMEOUT_MS = 5 * MINUTE_MS;
const BIND_TIMEOUT_MS = 30_000;
const REPAIR_TIMEOUT_MS = 30 * MINUTE_MS;
const GROW_TIMEOUT_MS = 15 * MINUTE_MS;
const USAGE_TIMEOUT_MS = 5_000;

const SECTOR_BYTES = 512;
/** e2fsck: errors were corrected; 2 adds that a reboot is wanted, for a root filesystem. */
const E2FSCK_CORRECTED = 1;

export class LinuxMounter implements Mounter {
  readonly #clock: Clock;

  constructor(options: { readonly clock: Clock }) {
    this.#clock = options.clock;
  }

  async mounts(): Promise<readonly Mount[]> {
    return parseMountTable(await readFile("/proc/self/mountinfo", "utf8"));
  }

  async canonical(path: string): Promise<string> {
    const parent = await realpath(dirname(path)).catch(() => dirname(path));
    return join(parent, basename(path));
  }

  async mount(options: Parameters<Mounter["mount"]>[0]): Promise<void> {
    const { devicePath, target, fsType } = options;
    const flags = options.options.length === 0 ? [] : ["-o", options.options.join(",")];
    await runToSuccess(this.#clock, {
      command: ["mount", "-t", fsType, ...flags, "--", devicePath, target],
      timeoutMs: MOUNT_TIMEOUT_MS,
    });
  }

  async bind(options: Parameters<Mounter["bind"]>[0]): Promise<void> {
    const { source, target, readOnly } = options;
    await this.#short("mount", "--bind", "--", source, target);
    // The kernel ignores `ro` on the bind itself.
    if (readOnly) await this.#short("mount", "-o", "remount,bind,ro", "--", target);
  }

  async unmount(target: string): Promise<void> {
    await runToSuccess(this.#clock, {
      command: ["umount", "--no-canonicalize", "--", target],
      timeoutMs: UNMOUNT_TIMEOUT_MS,
    });
  }

  async device(path: string): Promise<BlockDevice | undefined> {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found?.isBlockDevice() !== true) return undefined;
    const number = deviceNumber(found.rdev);
    const sectors = await readFile(`/sys/dev/block/${number}/size`, "utf8").catch(() => undefined);
    if (sectors === undefined) return undefined;
    return { number, sizeBytes: Number(sectors.trim()) * SECTOR_BYTES };
  }

  async isHeld(devicePath: string): Promise<boolean> {
    // A mounted filesystem holds its device exclusively until it has written back everything.
    try {
      const handle = await open(devicePath, constants.O_RDONLY | constants.O_EXCL);
      await handle.close();
      return false;
    } catch (cause) {
      if (codeOf(cause) === "EBUSY") return true;
      if (codeOf(cause) === "ENOENT" || codeOf(cause) === "ENXIO") return false;
      throw unreadable(devicePath, cause);
    }
  }

  async content(devicePath: string): Promise<DeviceContent> {
    return contentOf(await this.#disk(devicePath));
  }

  async format(options: Parameters<Mounter["format"]>[0]): Promise<void> {
    await format(await this.#disk(options.devicePath), options.fsType);
  }

  async erase(devicePath: string): Promise<void> {
    await erase(await this.#disk(devicePath));
  }

  async repair(options: Parameters<Mounter["repair"]>[0]): Promise<void> {
    const { devicePath, fsType } = options;
    if (fsType !== "ext4") throw needsHand(options, `xfs_repair ${devicePath}`);
    const check = {
      command: ["e2fsck", "-p", devicePath],
      timeoutMs: REPAIR_TIMEOUT_MS,
    } as const;
    const end = await runProgram(this.#clock, check);
    if (end.exitCode > E2FSCK_CORRECTED) throw needsHand(options, `e2fsck ${devicePath}`);
  }

  async grow(options: Parameters<Mounter["grow"]>[0]): Promise<void> {
    const { devicePath, fsType, mountPoint } = options;
    await runToSuccess(this.#clock, {
      command: fsType === "xfs" ? ["xfs_growfs", "-d", mountPoint] : ["resize2fs", devicePath],
      timeoutMs: GROW_TIMEOUT_MS,
    });
  }

  async usage(path: string): Promise<FilesystemUsage> {
    // statfs may hang for as long as the device does.
    const text = await runToSuccess(this.#clock, {
      command: ["stat", "--file-system", "--format=%S %b %f %a %c %d", "--", path],
      timeoutMs: USAGE_TIMEOUT_MS,
    });
    const [unit = 0n, total = 0n, free = 0n, available = 0n, inodes = 0n, freeInodes = 0n] = text
      .trim()
      .split(" ")
      .map(BigInt);
    return {
      bytes: { total: total * unit, used: (total - free) * unit, available: available * unit },
      inodes: { total: inodes, used: inodes - freeInodes, available: freeInodes },
    };
  }

  async kindOf(path: string): Promise<PathKind> {
    try {
      const found = await lstat(path);
      if (found.isDirectory()) return "directory";
      if (found.isFile()) return "file";
      return found.isBlockDevice() ? "block-device" : "other";
    } catch (cause) {
      if (codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR") return "absent";
      throw unreadable(path, cause);
    }
  }

  async makeDirectory(path: string): Promise<void> {
    await mkdir(path, { recursive: true, mode: 0o750 }).catch((cause: unknown) => {
      throw unwritable(path, cause);
    });
  }

  async makeFile(path: string): Promise<void> {
    await this.makeDirectory(dirname(path));
    try {
      const handle = await open(path, constants.O_CREAT | constants.O_WRONLY, 0o660);
      await handle.close();
    } catch (cause) {
      throw unwritable(path, cause);
    }
  }

  async remove(path: string): Promise<void> {
    const kind = await this.kindOf(path);
    if (kind === "absent") return;
    // Never more than one entry: what lies below may be a volume's data.
    await (kind === "directory" ? rmdir(path) : rm(path)).catch((cause: unknown) => {
      throw unwritable(path, cause);
    });
  }

  async #short(...command: [string, ...string[]]): Promise<void> {
    await runToSuccess(this.#clock, { command, timeoutMs: BIND_TIMEOUT_MS });
  }

  async #disk(devicePath: string): Promise<Disk> {
    const device = await this.device(devicePath);
    if (device === undefined) throw unreadable(devicePath);
    return { clock: this.#clock, devicePath, sizeBytes: device.sizeBytes };
  }
}

/** As stat(2) packs it: gnu_dev_major and gnu_dev_minor. */
export function deviceNumber(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

function needsHand(
  { devicePath, fsType }: { readonly devicePath: string; readonly fsType: string },
  command: string,
): WeirError {
  return new WeirError(
    "object-corrupt",
    `the filesystem needs a repair by hand: run \`${command}\` on this node`,
    { details: { devicePath, fsType } },
  );
}

function unreadable(path: string, cause?: unknown): WeirError {
  return new WeirError("internal", "a path of this node cannot be looked at", {
    details: { path, code: codeOf(cause) },
    cause,
  });
}

function unwritable(path: string, cause: unknown): WeirError {
  return new WeirError("internal", "a path of this node cannot be made or removed", {
    details: { path, code: codeOf(cause) },
    cause,
  });
}

function codeOf(cause: unknown): string | undefined {
  if (typeof cause !== "object" || cause === null || !("code" in cause)) return undefined;
  return typeof cause.code === "string" ? cause.code : undefined;
}
