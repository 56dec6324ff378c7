// Builds native/ in the cache, so that a fresh clone leaves the tree clean, and links it into the
// tree as native/build/{release,asan,tsan}. One folder for each compiler and checkout.
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache, checkout, nodeFolder } from "./places.ts";
import { outputOf, runProgram } from "./program.ts";

export const VARIANTS = ["release", "asan", "tsan"] as const;
export type Variant = (typeof VARIANTS)[number];

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

/** Builds one variant; false when it failed, with the compiler's words in `output`. */
export async function buildNative(
  variant: Variant,
  output: "inherit" | { readonly file: string },
): Promise<boolean> {
  await linkBuildFolder();
  const folder = nativeFolder(variant);
  const configure = ["cmake", "-S", join(checkout, "native"), "-B", folder, "-G", "Ninja"];
  const steps = [
    [...configure, "-DCMAKE_BUILD_TYPE=Release", ...variantFlags[variant]],
    ["ninja", "-C", folder],
  ];
  for (const command of steps) {
    const end = await runProgram({ command, output, timeoutMs: 1_200_000 });
    if (end.exitCode !== 0) {
      return false;
    }
  }
  return true;
}

/**
 * Points native/build at this checkout's folder in the cache; removes those of deleted checkouts.
 */
async function linkBuildFolder(): Promise<void> {
  const builds = join(cache, "build");
  const versions = await outputOf(["bash", "-c", "c++ --version; cmake --version"]);
  const key = createHash("sha256").update(versions).update(checkout).digest("hex").slice(0, 16);
  const folder = join(builds, key);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "checkout"), checkout);
  for (const name of readdirSync(builds)) {
    const owner = join(builds, name, "checkout");
    if (existsSync(owner) && !existsSync(readFileSync(owner, "utf8"))) {
      rmSync(join(builds, name), { recursive: true });
    }
  }
  const link = join(checkout, "native", "build");
  if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) {
    rmSync(link, { recursive: true });
  }
  symlinkSync(folder, link);
}
