// Builds a program from a pinned Go module, once: hack/tools/NAME/go.mod names it in its `tool`
// line. The binary lies in the cache, under the hash of go.sum, so another version is another file.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cache, checkout } from "../places.ts";
import { outputOf } from "../program.ts";

/** A first build on two busy cores, with every module still to come. */
const BUILD_TIMEOUT_MS = 1_200_000;

/** Two that build at once would halve each other: the second waits, and finds the file. */
const BUILD_ONCE = `
set -e
test -x "$1" && exit
CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -ldflags "-s -w" -o "$1.new" tool
mv "$1.new" "$1"
`;

/** The path of the program, built when it is not there yet. */
export async function goTool(name: string): Promise<string> {
  const folder = join(checkout, "hack", "tools", name);
  const sum = readFileSync(join(folder, "go.sum"));
  const hash = createHash("sha256").update(sum).digest("hex").slice(0, 16);
  const bin = join(cache, "bin");
  const path = join(bin, `${name}-${hash}`);
  if (!existsSync(path)) {
    mkdirSync(bin, { recursive: true });
    await outputOf(["flock", `${path}.lock`, "sh", "-c", BUILD_ONCE, "sh", path], {
      timeoutMs: BUILD_TIMEOUT_MS,
      cwd: folder,
    });
  }
  return path;
}
