// The Debian packages that a command needs, with the reason for each; missing ones are installed.
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { outputOf, runProgram } from "./program.ts";

const groups = {
  build: {
    cmake: "the native build",
    "ninja-build": "the native build",
    "g++": "the compiler, C++20",
    "liburing-dev": "the engine's event loop and I/O",
    "libzstd-dev": "compression of frames",
    "libisal-dev": "crc32c",
    "libxxhash-dev": "sums of journal blocks",
    "libgtest-dev": "native unit tests",
  },
  proto: {
    "protobuf-compiler": "protoc, for hack/run proto",
    "libprotobuf-dev": "the protocol files that csi.proto imports",
  },
  check: {
    "clang-format-14": "the format of native/",
    "clang-tidy-14": "static checks of native/",
  },
  disk: {
    fio: "load and verification on block devices",
    "libnbd-bin": "nbdcopy and nbdinfo, fio's nbd engine",
    nbdkit: "the yardstick of benchmarks, and faulty disks",
    "nbd-client": "kernel NBD in guests and demos",
    e2fsprogs: "ext4 in tests and guests",
    xfsprogs: "xfs in tests and guests",
  },
  vm: {
    "qemu-system-x86": "guests with kernels that have ublk and nbd",
    kmod: "depmod and modprobe for their modules",
    cpio: "their initramfs",
    "xz-utils": "their modules",
    iproute2: "their network",
  },
  kubernetes: {
    "etcd-server": "the API server's database",
    curl: "asks whether a server is ready",
  },
  cluster: {
    containerd: "runs pods on the nodes, and unpacks images for them",
    runc: "starts their containers",
    "containernetworking-plugins": "their network",
    mmdebstrap: "the base of Weir's image",
    buildah: "builds Weir's image from its Dockerfile",
    iproute2: "the cluster's network",
    e2fsprogs: "the disk of images",
    "util-linux": "nsenter",
  },
} as const;

export type PackageGroup = keyof typeof groups;

/** Makes sure that all packages of these groups are installed; says what to do when it cannot. */
export async function ensurePackages(wanted: readonly PackageGroup[]): Promise<void> {
  const names = wanted.flatMap((group) => Object.keys(groups[group]));
  const installed = await installedPackages();
  const missing = names.filter((name) => !installed.has(name));
  if (missing.length === 0) {
    return;
  }
  const command = `apt-get install ${missing.join(" ")}`;
  if (process.getuid?.() !== 0) {
    throw new Error(`Weir needs more Debian packages; as root, run: ${command}`);
  }
  console.error(`installing ${missing.join(", ")}`);
  await apt(["update"]);
  const allowServices = forbidServices();
  try {
    await apt(["install", "--yes", "--no-install-recommends", ...missing]);
  } finally {
    allowServices();
  }
}

/**
 * etcd and containerd would start as services of this machine, which nobody asked for: asked by
 * this file, their packages leave it. Returns what takes it back.
 */
function forbidServices(): () => void {
  const policy = "/usr/sbin/policy-rc.d";
  if (existsSync(policy)) return () => {};
  writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  return () => rmSync(policy);
}

async function installedPackages(): Promise<Set<string>> {
  let listing: string;
  try {
    listing = await outputOf(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\\n"]);
  } catch (cause) {
    throw new Error("Weir is built on Debian 12 or a system like it: dpkg is missing here.", {
      cause,
    });
  }
  const lines = listing.split("\n").filter((line) => line.startsWith("ii "));
  return new Set(lines.map((line) => line.slice(2).trim()));
}

async function apt(args: readonly string[]): Promise<void> {
  const end = await runProgram({
    command: ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", ...args],
    env: { DEBIAN_FRONTEND: "noninteractive" },
    timeoutMs: 900_000,
    output: "inherit",
  });
  if (end.exitCode !== 0) {
    throw new Error(`apt-get ${args.join(" ")} failed (${end.exitCode}); its own words are above`);
  }
}
