// Fetches the kernels that guests run, as Debian packages, unpacked into the cache; nothing is
// installed and the machine's own package sources stay as they are. A private apt configuration
// adds two suites: `trixie` for 6.12, and `sid` for the newest kernel, 7.2 or later.
import { existsSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cache } from "../places.ts";
import { outputOf } from "../program.ts";
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
  if (!existsSync(join(root, "complete"))) {
    await fetchKernel(name, root);
  }
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

/** Fetches into a folder of its own and renames: another process may be doing the same. */
async function fetchKernel(name: KernelName, root: string): Promise<void> {
  console.error(`fetching kernel ${name}`);
  mkdirSync(dirname(root), { recursive: true });
  const folder = mkdtempSync(join(cache, "fetch-"));
  try {
    const apt = await privateApt(folder);
    const unpacked = join(folder, "unpacked");
    mkdirSync(unpacked);
    const names = await Promise.all(packagePatterns[name].map((pattern) => apt.newest(pattern)));
    await apt.unpack([...names, "busybox-static"], unpacked);
    const [version = ""] = readdirSync(join(unpacked, "usr/lib/modules"));
    await outputOf(["depmod", "-b", join(unpacked, "usr"), version]);
    writeFileSync(join(unpacked, "complete"), "");
    rmSync(root, { recursive: true, force: true });
    renameSync(unpacked, root);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** An apt with lists, sources and cache of its own, on the mirror that the machine uses. */
async function privateApt(folder: string) {
  for (const part of ["lists/partial", "archives/partial", "packages"]) {
    mkdirSync(join(folder, part), { recursive: true });
  }
  const mirror = await debianMirror();
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const source = (suite: string) =>
    `deb [target=Packages signed-by=${keyring}] ${mirror} ${suite} main\n`;
  writeFileSync(join(folder, "sources.list"), source("trixie") + source("sid"));
  const settings = {
    "Dir::Etc::sourcelist": join(folder, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::State::lists": join(folder, "lists"),
    "Dir::Cache": folder,
    "Acquire::Languages": "none",
    "APT::Sandbox::User": "root",
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key} "${value}";\n`);
  writeFileSync(join(folder, "apt.conf"), lines.join(""));
  const env = { APT_CONFIG: join(folder, "apt.conf") };
  await outputOf(["apt-get", "-qq", "update"], { env, timeoutMs: 300_000 });

  return {
    async newest(pattern: string): Promise<string> {
      const found = await outputOf(["apt-cache", "search", "--names-only", pattern], { env });
      const names = found.split("\n").map((line) => line.split(" ")[0] ?? "");
      const newest = names.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
      if (newest === undefined || newest === "") {
        throw new Error(`Debian has no package that matches ${pattern}: see hack/vm/kernels.ts.`);
      }
      return newest;
    },
    async unpack(names: readonly string[], target: string): Promise<void> {
      const cwd = join(folder, "packages");
      await outputOf(["apt-get", "-qq", "download", ...names], { env, cwd, timeoutMs: 900_000 });
      for (const file of readdirSync(cwd)) {
        await outputOf(["dpkg-deb", "-x", join(cwd, file), target], { timeoutMs: 300_000 });
      }
    },
  };
}

/** The address of the Debian mirror in the machine's own sources. */
async function debianMirror(): Promise<string> {
  const format = ["--format", "$(REPO_URI)"];
  const listing = await outputOf(["apt-get", "indextargets", ...format, "Created-By: Packages"]);
  const mirror = listing.split("\n").find((address) => /\/debian\/?$/u.test(address));
  if (mirror === undefined) {
    throw new Error("apt has no Debian mirror among its sources: kernels come from there.");
  }
  return mirror;
}
