// One worker node: QEMU with a kernel of our choice on this machine's own files (read-only), two
// disks and a tap in the cluster's network. It keeps running when the command has ended.
import { existsSync, mkdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { outputOf } from "../program.ts";
import { goTools } from "../tools/go-tool.ts";
import { cpuModel } from "../vm/cpu-model.ts";
import { findKernel, KERNELS, type Kernel } from "../vm/kernels.ts";
import { kvmWorks } from "../vm/kvm.ts";
import { findQemu } from "../vm/qemu.ts";
import { daemonPid, endDaemon, startDaemon } from "./daemons.ts";
import type { ClusterNode } from "./layout.ts";
import { inNetwork } from "./network.ts";
import { callPipe, shareFolder, writeNodeFiles } from "./node-files.ts";

const guestOptions = z.object({
  kernel: z.enum(KERNELS),
  memoryMiB: z.number(),
  cpus: z.number(),
  /** The file system of /var/lib/containerd; read, never written. */
  imageStore: z.string(),
});
export type GuestOptions = z.infer<typeof guestOptions>;

/** Sparse: only what is written takes room. */
const DISK_BYTES = 32 * 1024 ** 3;
const init = join(import.meta.dirname, "node-init.sh");

/**
 * Boots the node, unless it runs; it gets Ready some time later. One that runs with other images is
 * switched off and boots again: faster than to import images where everything is emulated.
 */
export async function startGuest(node: ClusterNode, options: GuestOptions): Promise<void> {
  const tool = await goTools("kubernetes", ["kubelet"]);
  const kernel = await findKernel(options.kernel);
  const accelerator = (await kvmWorks(kernel)) ? "kvm" : "tcg";
  mkdirSync(node.folder, { recursive: true });
  const before = bootedWith(node);
  if (before !== undefined && before.imageStore !== options.imageStore) await killGuest(node);
  writeFileSync(optionsFile(node), JSON.stringify(guestOptions.parse(options)));
  const disk = join(node.folder, "disk");
  if (!existsSync(disk)) {
    writeFileSync(disk, "");
    truncateSync(disk, DISK_BYTES);
  }
  if (daemonPid(node.name) !== undefined) return;
  rmSync(bootFile(node), { force: true });
  writeNodeFiles(node, kernel, tool("kubelet"));
  for (const end of ["in", "out"]) {
    const pipe = `${callPipe(node)}.${end}`;
    if (!existsSync(pipe)) await outputOf(["mkfifo", pipe]);
  }
  const qemu = [...(await findQemu()), ...machine(node, { ...options, kernel, accelerator, disk })];
  startDaemon({ name: node.name, command: inNetwork(qemu) });
}

/** Boots a node that was switched off as it was booted before. */
export async function restartGuest(node: ClusterNode): Promise<void> {
  const before = bootedWith(node);
  if (before === undefined) throw new Error(`The node ${node.name} was never booted.`);
  await startGuest(node, before);
}

function bootedWith(node: ClusterNode): GuestOptions | undefined {
  const file = optionsFile(node);
  return existsSync(file) ? guestOptions.parse(JSON.parse(readFileSync(file, "utf8"))) : undefined;
}

function optionsFile(node: ClusterNode): string {
  return join(node.folder, "options.json");
}

/** Power off without a word to anyone, as when a node is lost. Its disk stays. */
export async function killGuest(node: ClusterNode): Promise<void> {
  await endDaemon(node.name, "SIGKILL");
  rmSync(join(shareFolder(node), "run"), { recursive: true, force: true });
}

/** Of the running kernel, once it runs. */
export function bootId(node: ClusterNode): string | undefined {
  const file = bootFile(node);
  return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
}

function bootFile(node: ClusterNode): string {
  return join(shareFolder(node), "boot-id");
}

/** Huge pages, which an emulator has to clear byte by byte, gain it nothing. */
const KERNEL_ARGUMENTS =
  "console=ttyS0 loglevel=5 panic=-1 mitigations=off transparent_hugepage=never";

function machine(
  node: ClusterNode,
  options: Omit<GuestOptions, "kernel"> & {
    readonly kernel: Kernel;
    readonly accelerator: "kvm" | "tcg";
    readonly disk: string;
  },
): string[] {
  const { kernel, accelerator, cpus, memoryMiB, disk, imageStore } = options;
  const shared = (id: string, path: string, more: string) => [
    ...["-fsdev", `local,id=${id},path=${path},security_model=none,multidevs=remap${more}`],
    ...["-device", `virtio-9p-pci,fsdev=${id},mount_tag=${id}`],
  ];
  // More room for translated code: big Go programs would be translated again and again.
  const speed = accelerator === "kvm" ? "kvm" : "tcg,thread=multi,tb-size=512";
  return [
    ...["-machine", "q35", "-accel", speed],
    ...["-cpu", cpuModel(accelerator)],
    ...["-smp", String(cpus), "-m", String(memoryMiB)],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-serial", `file:${join(node.folder, "console")}`],
    ...["-chardev", `pipe,id=call,path=${callPipe(node)}`, "-serial", "chardev:call"],
    ...["-device", "virtio-rng-pci"],
    ...["-drive", `file=${disk},if=virtio,format=raw,discard=unmap`],
    ...["-drive", `file=${imageStore},if=virtio,format=raw,snapshot=on`],
    ...shared("host", "/", ",readonly=on"),
    ...shared("share", shareFolder(node), ""),
    ...["-netdev", `tap,id=net0,ifname=${node.tap},script=no,downscript=no`],
    ...["-device", `virtio-net-pci,netdev=net0,mac=${node.mac}`],
    ...["-kernel", kernel.image, "-initrd", kernel.initramfs],
    ...["-append", `${KERNEL_ARGUMENTS} weir.next=${init}`],
  ];
}
