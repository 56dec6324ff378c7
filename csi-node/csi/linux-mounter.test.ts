// Goal: what the kernel and the system's programs say is read right, and a program that fails or
// hangs ends in a fault with its own words. Method: texts as they are printed, and short programs
// of every system; devices and mounts are for the guest (test/vm/csi-node.sh).
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { realClock } from "../../core/runtime/real-ports.ts";
import { describeSignature } from "./linux-disk.ts";
import { deviceNumber, LinuxMounter } from "./linux-mounter.ts";
import { parseMountTable } from "./mount-table.ts";
import { mountsAt } from "./mounter.ts";
import { runProgram, runToSuccess } from "./programs.ts";

let folder: string;
const mounter = new LinuxMounter({ clock: realClock });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-mounter-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("the mount table", () => {
  test("gives device, root, type and whether it is read-only", () => {
    const text = [
      "36 35 259:3 / /staging/globalmount rw,relatime shared:12 master:3 - ext4 /dev/ublkb3 rw",
      "37 35 0:5 /ublkb3 /publish/a\\040b ro,nosuid - devtmpfs udev rw,size=1k",
      "38 35 259:4 / /readonly rw - xfs /dev/ublkb4 ro,nouuid",
      "",
      "nonsense",
    ].join("\n");
    expect(parseMountTable(text)).toStrictEqual([
      {
        ...{ device: "259:3", root: "/", mountPoint: "/staging/globalmount", fsType: "ext4" },
        readOnly: false,
      },
      {
        ...{ device: "0:5", root: "/ublkb3", mountPoint: "/publish/a b", fsType: "devtmpfs" },
        readOnly: true,
      },
      { device: "259:4", root: "/", mountPoint: "/readonly", fsType: "xfs", readOnly: true },
    ]);
  });

  test("of this machine is read, through links to a mount's parent", async () => {
    expect((await mountsAt(mounter, "/proc")).at(-1)?.fsType).toBe("proc");
    symlinkSync("/", join(folder, "root"));
    expect((await mountsAt(mounter, join(folder, "root", "proc"))).at(-1)?.fsType).toBe("proc");
  });
});

describe("devices", () => {
  test("are numbered as stat packs them", () => {
    expect(deviceNumber(0x103_03n)).toBe("259:3");
    // Minor numbers beyond 255, major numbers beyond 4095.
    expect(deviceNumber((0x12n << 20n) | (7n << 8n) | 0x34n)).toBe("7:4660");
    expect(deviceNumber((0x1000n << 32n) | (1n << 8n))).toBe("4097:0");
  });

  test("are block devices only", async () => {
    expect(await mounter.device("/dev/null")).toBeUndefined();
    expect(await mounter.device(folder)).toBeUndefined();
    expect(await mounter.device(join(folder, "absent"))).toBeUndefined();
  });

  test.each([
    [
      "DEVNAME=/dev/x\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\n",
      { kind: "filesystem", fsType: "ext4" },
    ],
    ["TYPE=crypto_LUKS\nUSAGE=crypto\n", { kind: "unknown", what: "crypto_LUKS" }],
    ["PTUUID=1\nPTTYPE=gpt\n", { kind: "unknown", what: "a gpt partition table" }],
    ["DEVNAME=/dev/x\n", { kind: "unknown", what: "a signature" }],
  ])("with the signature %j", (text, content) => {
    expect(describeSignature(text)).toStrictEqual(content);
  });
});

describe("paths", () => {
  test("are made and removed one at a time, never what is below", async () => {
    const path = join(folder, "a", "b");
    await mounter.makeDirectory(path);
    await mounter.makeFile(join(path, "c", "file"));
    await mounter.makeFile(join(path, "c", "file"));
    expect(await mounter.kindOf(join(path, "c", "file"))).toBe("file");
    await expect(mounter.remove(join(path, "c"))).rejects.toMatchObject({
      code: "internal",
      details: { code: "ENOTEMPTY" },
    });
    await mounter.remove(join(path, "c", "file"));
    await mounter.remove(join(path, "c", "file"));
    await mounter.remove(join(path, "c"));
    expect(await mounter.kindOf(join(path, "c"))).toBe("absent");
    expect(await mounter.kindOf(join(path, "c", "file"))).toBe("absent");
  });

  test("tell what is used of their filesystem", async () => {
    const { bytes } = await mounter.usage(folder);
    expect(bytes.total).toBeGreaterThan(bytes.used);
    await expect(mounter.usage(join(folder, "absent"))).rejects.toMatchObject({ code: "internal" });
  });
});

describe("programs", () => {
  const shell = (script: string) => ({ command: ["sh", "-c", script], timeoutMs: 60_000 }) as const;

  test("give what they printed and how they ended", async () => {
    const end = await runProgram(realClock, shell("echo out; echo err >&2; exit 3"));
    expect(end).toStrictEqual({ exitCode: 3, stdout: "out\n", stderr: "err\n" });
  });

  test("that fail end in a fault with their words", async () => {
    const failing = runToSuccess(realClock, shell("echo 'device is busy' >&2; exit 32"));
    await expect(failing).rejects.toMatchObject({
      code: "internal",
      message: "sh failed: device is busy",
      details: { exitCode: 32 },
    });
  });

  test("that are not there are named", async () => {
    const missing = runProgram(realClock, { command: ["mkfs.none"], timeoutMs: 1_000 });
    await expect(missing).rejects.toMatchObject({ details: { program: "mkfs.none" } });
  });

  test("that hang are killed at their limit", async () => {
    const clock = new FakeClock();
    const hanging = runProgram(clock, { command: ["sleep", "600"], timeoutMs: 5_000 });
    await expect(clock.runUntil(hanging)).rejects.toMatchObject({ code: "deadline-exceeded" });
  });
});
