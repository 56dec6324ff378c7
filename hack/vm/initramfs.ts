// Builds the little first file system of a guest: a static busybox, the modules that reach the
// host's files, and hack/vm/initramfs-init.sh.
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempDisposableSync } from "node:fs";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { outputOf } from "../program.ts";

/** What must be loaded before the host's files and the disk can be seen. */
const modules = ["9p", "9pnet_virtio", "overlay", "virtio_blk", "ext4"];

const init = join(import.meta.dirname, "initramfs-init.sh");

/** The initramfs of one kernel, kept beside it in `folder`. */
export async function buildInitramfs(options: {
  folder: string;
  version: string;
  moduleRoot: string;
}): Promise<string> {
  const { folder, version, moduleRoot } = options;
  const recipe = createHash("sha256").update(readFileSync(init)).update(modules.join());
  const target = join(folder, `initramfs-${recipe.digest("hex").slice(0, 12)}`);
  if (existsSync(target)) {
    return target;
  }
  using temporary = mkdtempDisposableSync(join(tmpdir(), "weir-initramfs-"));
  const tree = temporary.path;
  for (const part of ["bin", "dev", "proc", "sys", "modules", "host", "layer", "root"]) {
    mkdirSync(join(tree, part));
  }
  copyFileSync(join(folder, "usr/bin/busybox"), join(tree, "bin/busybox"));
  copyFileSync(init, join(tree, "init"));
  const paths = await modulePaths(moduleRoot, version);
  for (const path of paths) {
    copyFileSync(path, join(tree, "modules", basename(path)));
    if (path.endsWith(".xz")) {
      await outputOf(["xz", "-d", join(tree, "modules", basename(path))]);
    }
  }
  const order = paths.map((path) => basename(path, ".xz"));
  writeFileSync(join(tree, "modules/order"), `${order.join("\n")}\n`);
  const image = `${target}.${process.pid}`;
  const pack = 'find . | cpio --quiet -o -H newc >"$0"';
  await outputOf(["bash", "-c", `chmod 755 init bin/busybox && ${pack}`, image], { cwd: tree });
  renameSync(image, target);
  return target;
}

/** The files of `modules` and of all that they need, in the order to load them. */
async function modulePaths(moduleRoot: string, version: string): Promise<string[]> {
  const command = ["modprobe", "-d", moduleRoot, "-S", version, "--show-depends", "-a"];
  const listing = await outputOf([...command, ...modules]);
  const paths = listing.match(/(?<=^insmod )\S+/gmu) ?? [];
  return [...new Set(paths)];
}
