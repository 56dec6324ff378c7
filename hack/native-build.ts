// Builds native/ in the cache, so that a fresh clone leaves the tree clean, and links it into the
// tree as native/build/{release,asan,tsan}. One folder for each compiler and checkout.
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache, checkout, nodeFolder } from "./places.ts";
import { outputOf, runProgram } from "./program.ts";

export const VARIANTS = ["release", "asan", "tsan"] as const;
export type Variant = (typeof VARIANTS)[number];

const FORGOTTEN_MS = 7 * 86_400_000;

/** `release` holds weir.node as well; the others hold tests and tools only. */
const variantFlags: Readonly<Record<Variant, readonly string[]>> = {
  release: [
    `-DWEIR_NODE_DIR=${nodeFolder}`,
    `-DWEIR_NAPI_DIR=${join(checkout, "node_modules", "node-addon-api")}`,
  ],
  asan: ["-DWEIR_SANITIZE=address"],
  tsan: ["-DWEIR_SANITIZE=thread"],
};

/** Where a variant's programs are, once built. */
export function nativeFolder(variant: Variant): string {
  return join(checkout, "native", "build", variant);
}

/**
 * Configures and builds; of two that want the same variant at once, the second waits and finds the
 * work done.
 */
const BUILD = `
set -e
exec 9>"$0"
flock 9
cmake -S "$1" -B "$2" -G Ninja -DCMAKE_BUILD_TYPE=Release "\${@:3}"
ninja -C "$2"
`;

/** Builds one variant; false when it failed, with the compiler's words in `output`. */
export async function buildNative(
  variant: Variant,
  output: "inherit" | { readonly file: string },
): Promise<boolean> {
  const lock = `${await linkBuildFolder()}.${variant}`;
  const folder = nativeFolder(variant);
  const build = [lock, join(checkout, "native"), folder, ...variantFlags[variant]];
  const command = ["bash", "-c", BUILD, ...build];
  const end = await runProgram({ command, output, timeoutMs: 1_200_000 });
  return end.exitCode === 0;
}

/**
 * Points native/build at this checkout's folder in the cache; removes forgotten ones.
 * Returns how the names of files begin that builds lock.
 */
async function linkBuildFolder(): Promise<string> {
  const builds = join(cache, "build");
  const versions = await outputOf(["bash", "-c", "c++ --version; cmake --version"]);
  const key = createHash("sha256").update(versions).update(checkout).digest("hex").slice(0, 16);
  const folder = join(builds, key);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "checkout"), checkout);
  for (const name of readdirSync(builds)) {
    const owner = join(builds, name, "checkout");
    if (isForgotten(owner)) rmSync(join(builds, name), { recursive: true });
  }
  const link = join(checkout, "native", "build");
  const present = lstatSync(link, { throwIfNoEntry: false });
  if (present?.isSymbolicLink() !== true || readlinkSync(link) !== folder) {
    rmSync(link, { recursive: true, force: true });
    symlinkSync(folder, link);
  }
  return join(folder, "lock");
}

/**
 * Not built for a week, and its checkout is gone. The time matters: a mount namespace or a guest
 * may share the cache and not see the checkout.
 */
function isForgotten(owner: string): boolean {
  if (!existsSync(owner) || existsSync(readFileSync(owner, "utf8"))) return false;
  return Date.now() - statSync(owner).mtimeMs > FORGOTTEN_MS;
}
