// The kernels that guests run, from Debian packages: 6.12 is in `trixie`, the newest one, 7.2 or
// later, in `sid`.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { cache } from "../places.ts";
import { outputOf } from "../program.ts";
import { fetchPackages } from "./debian.ts";
import { buildInitramfs } from "./initramfs.ts";

export const KERNELS = ["6.12", "7.2"] as const;
export type KernelName = (typeof KERNELS)[number];

export interface Kernel {
  /** As in /lib/modules, e.g. `6.12.107+deb13-amd64`. */
  readonly version: string;
  readonly image: string;
  /** The folder whose `lib/modules/VERSION` holds the modules. */
  readonly moduleRoot: string;
  readonly initramfs: string;
}

/** Patterns of package names; the generic flavour, since `cloud` lacks 9p. */
const packagePatterns: Readonly<Record<KernelName, readonly string[]>> = {
  "6.12": ["^linux-image-6\\.12\\.[0-9.]+\\+deb13-amd64-unsigned$"],
  "7.2": [
    "^linux-binary-7\\.[2-9]\\.[0-9.]+\\+deb[0-9]+-amd64$",
    "^linux-modules-7\\.[2-9]\\.[0-9.]+\\+deb[0-9]+-amd64$",
  ],
};

/** The kernel, from the cache or freshly fetched. */
export async function findKernel(name: KernelName): Promise<Kernel> {
  const root = join(cache, "kernels", name);
  await fetchKernel(name, root);
  const moduleRoot = join(root, "usr");
  const [version] = readdirSync(join(moduleRoot, "lib", "modules"));
  if (version === undefined) {
    throw new Error(`The kernel in ${root} has no modules: delete that folder and try again.`);
  }
  const places = [
    join(root, "boot", `vmlinuz-${version}`),
    join(moduleRoot, "lib/modules", version, "vmlinuz"),
  ];
  const image = places.find((place) => existsSync(place));
  if (image === undefined) {
    throw new Error(`There is no kernel image in ${root}: delete that folder and try again.`);
  }
  const initramfs = await buildInitramfs({ folder: root, version, moduleRoot });
  return { version, image, moduleRoot, initramfs };
}

async function fetchKernel(name: KernelName, root: string): Promise<void> {
  const patterns = [...packagePatterns[name], "^busybox-static$"];
  await fetchPackages({ suites: ["trixie", "sid"], patterns, target: root }, async (unpacked) => {
    const [version = ""] = readdirSync(join(unpacked, "usr/lib/modules"));
    await outputOf(["depmod", "-b", join(unpacked, "usr"), version]);
  });
}
