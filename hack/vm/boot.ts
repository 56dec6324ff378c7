// One guest: QEMU with a kernel of our choice on the host's own files, which the guest sees
// read-only at their own paths, with changes kept in its memory. /mnt/disk is an ext4 file system
// on a disk of its own; /mnt/share is a folder of the host, for what goes in and out.
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkout } from "../places.ts";
import { runProgram } from "../program.ts";
import { cpuModel } from "./cpu-model.ts";
import type { Kernel } from "./kernels.ts";
import { findQemu } from "./qemu.ts";

export interface BootOptions {
  readonly kernel: Kernel;
  readonly accelerator: "kvm" | "tcg";
  /** Run by bash in the guest, as root, in the checkout. */
  readonly script: string;
  readonly timeoutMs: number;
  readonly cpus?: number;
  readonly memoryMiB?: number;
  readonly diskMiB?: number;
  /** `user`: the guest reaches the host's loopback as 10.0.2.2. */
  readonly network?: "none" | "user";
  /** Kept afterwards when given; else one in the temporary folder, removed afterwards. */
  readonly shareFolder?: string;
  /** Kernel lines that look like a fault but are expected by this test. */
  readonly expectedKernelLines?: readonly RegExp[];
  /** More arguments for QEMU, such as tap devices. */
  readonly qemuArguments?: readonly string[];
}

export interface GuestEnd {
  /** The script's; 1 when the guest did not get to its end. */
  readonly exitCode: number;
  readonly output: string;
  readonly kernelLog: string;
  /** What else went wrong: time limit, panic, kernel faults. Empty when all is well. */
  readonly complaints: readonly string[];
  /** From the kernel's start to the script's; undefined when the script was not reached. */
  readonly bootSeconds: number | undefined;
}

/** Of the kernel, or of a program that died without having a chance to say so. */
const kernelFaults = [
  ...["BUG:", "WARNING:", "Oops", "Kernel panic", "protection fault", "unable to handle"],
  ...["blocked for more", "segfault at", "trap invalid opcode", "Out of memory: Killed"],
];
const kernelFault = new RegExp(String.raw`\b(?:${kernelFaults.join("|")})`, "u");

/** Boots, runs the script, powers off. The guest is gone when this returns, whatever happened. */
export async function boot(options: BootOptions): Promise<GuestEnd> {
  const folder = mkdtempSync(join(tmpdir(), "weir-guest-"));
  const share = options.shareFolder ?? join(folder, "share");
  mkdirSync(share, { recursive: true });
  for (const name of ["exit-code", "kernel.log", "boot-seconds", "output"]) {
    rmSync(join(share, name), { force: true });
  }
  writeFileSync(join(share, "script"), options.script);
  writeFileSync(join(share, "settings"), settings(options));
  const disk = join(folder, "disk");
  writeFileSync(disk, "");
  truncateSync(disk, (options.diskMiB ?? 8192) * 1024 * 1024);
  const console = join(folder, "console");
  const paths = { share, disk, console };
  const program = await findQemu();
  try {
    const end = await runProgram({
      // The guest must not outlive us, not even when we are killed.
      command: ["setpriv", "--pdeathsig", "KILL", ...program, ...machine(options, paths)],
      timeoutMs: options.timeoutMs,
      output: { file: join(folder, "qemu") },
    });
    const failure = end.timedOut ? `no end within ${options.timeoutMs / 1000} s` : undefined;
    return report({ share, console, qemu: join(folder, "qemu"), failure, options });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function settings(options: BootOptions): string {
  const { moduleRoot, version } = options.kernel;
  const values = {
    MODULES: join(moduleRoot, "lib/modules", version),
    NETWORK: options.network ?? "none",
    FOLDER: checkout,
  };
  const lines = Object.entries(values).map(([name, value]) => `${name}='${value}'\n`);
  return lines.join("");
}

function machine(
  options: BootOptions,
  paths: { share: string; disk: string; console: string },
): string[] {
  const { kernel, cpus = 2, memoryMiB = 4096 } = options;
  const shared = (id: string, path: string, more: string) => [
    ...["-fsdev", `local,id=${id},path=${path},security_model=none,multidevs=remap${more}`],
    ...["-device", `virtio-9p-pci,fsdev=${id},mount_tag=${id}`],
  ];
  const next = join(import.meta.dirname, "guest-init.sh");
  const network =
    options.network === "user"
      ? ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"]
      : ["-nic", "none"];
  return [
    ...["-machine", `q35,accel=${options.accelerator}`],
    ...["-cpu", cpuModel(options.accelerator)],
    ...["-smp", String(cpus), "-m", String(memoryMiB)],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-serial", `file:${paths.console}`],
    ...["-drive", `file=${paths.disk},if=virtio,format=raw,discard=unmap`],
    ...shared("host", "/", ",readonly=on"),
    ...shared("share", paths.share, ""),
    ...network,
    ...(options.qemuArguments ?? []),
    ...["-kernel", kernel.image, "-initrd", kernel.initramfs],
    ...["-append", `console=ttyS0 loglevel=5 panic=-1 weir.next=${next}`],
  ];
}

function report(run: {
  share: string;
  console: string;
  qemu: string;
  failure: string | undefined;
  options: BootOptions;
}): GuestEnd {
  const read = (path: string) => (existsSync(path) ? readFileSync(path, "utf8") : "");
  const written = read(join(run.share, "exit-code")).trim();
  const consoleLog = read(run.console);
  const kernelLog = read(join(run.share, "kernel.log")) || consoleLog;
  const complaints: string[] = run.failure === undefined ? [] : [run.failure];
  if (written === "" && run.failure === undefined) {
    const end = `${read(run.qemu)}${consoleLog}`.trim().split("\n").slice(-20);
    complaints.push(`the guest ended before its script did:\n${end.join("\n")}`);
  }
  const expected = run.options.expectedKernelLines ?? [];
  const faults = new Set(`${kernelLog}\n${consoleLog}`.match(/.+/gu));
  for (const line of faults) {
    if (kernelFault.test(line) && !expected.some((pattern) => pattern.test(line))) {
      complaints.push(`kernel: ${line}`);
    }
  }
  const up = read(join(run.share, "boot-seconds"));
  return {
    exitCode: written === "" ? 1 : Number(written),
    output: read(join(run.share, "output")),
    kernelLog,
    complaints,
    bootSeconds: up === "" ? undefined : Number(up),
  };
}
