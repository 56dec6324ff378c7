// bash hack/run native-lint [--all]: clang-tidy on every file of native/, two at a time. What a
// file and all its headers looked like when it was clean is remembered in the cache, so that a
// later run looks at changed files only; --all forgets that.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { buildNative, nativeFolder } from "./native-build.ts";
import { ensurePackages } from "./packages.ts";
import { cache, checkout } from "./places.ts";
import { outputOf, runProgram } from "./program.ts";

const TIDY = "clang-tidy-14";
const Commands = z.array(z.object({ file: z.string(), command: z.string() }));

interface Unit {
  readonly file: string;
  /** A file in the cache that exists if just this was clean before. */
  readonly cleanMark: string;
}

const { values } = parseArgs({ options: { all: { type: "boolean", default: false } } });
await ensurePackages(["build", "check"]);
// The build writes down how each file is compiled, and what it includes.
if (!(await buildNative("release", "inherit"))) process.exit(1);
const units = (await findUnits()).filter((unit) => values.all || !existsSync(unit.cleanMark));
console.error(`native-lint: ${units.length} files to look at`);
const output = mkdtempSync(join(tmpdir(), "weir-lint-"));
try {
  const lanes = await Promise.all([lintInTurn(units), lintInTurn(units)]);
  process.exitCode = lanes.every((clean) => clean) ? 0 : 1;
} finally {
  rmSync(output, { recursive: true });
}

/** Takes from `queue` until it is empty; false when a file had findings, which are printed. */
async function lintInTurn(queue: Unit[]): Promise<boolean> {
  let clean = true;
  for (let unit = queue.shift(); unit !== undefined; unit = queue.shift()) {
    const file = join(output, createHash("sha256").update(unit.file).digest("hex"));
    const command = ["nice", TIDY, "-quiet", "-p", nativeFolder("release"), unit.file];
    const end = await runProgram({ command, timeoutMs: 600_000, output: { file } });
    if (end.exitCode === 0) {
      writeFileSync(unit.cleanMark, "");
    } else {
      clean = false;
      console.log(`${unit.file}:\n${readFileSync(file, "utf8")}`);
    }
  }
  return clean;
}

async function findUnits(): Promise<Unit[]> {
  const folder = join(cache, "clang-tidy");
  mkdirSync(folder, { recursive: true });
  const compiled = readFileSync(join(nativeFolder("release"), "compile_commands.json"), "utf8");
  const headers = await headersOfFiles();
  const rules = readFileSync(join(checkout, ".clang-tidy"), "utf8");
  const common = createHash("sha256")
    .update(rules)
    .update(await outputOf([TIDY, "--version"]));
  return Commands.parse(JSON.parse(compiled)).map(({ file, command }) => {
    const key = common.copy().update(command);
    for (const path of [file, ...(headers.get(file) ?? [])]) {
      key.update(path).update(readFileSync(path));
    }
    return { file, cleanMark: join(folder, key.digest("hex")) };
  });
}

/** Our own headers of every file, as the compiler reported them to ninja. */
async function headersOfFiles(): Promise<Map<string, string[]>> {
  const listing = await outputOf(["ninja", "-C", nativeFolder("release"), "-t", "deps"]);
  const ours = join(checkout, "native");
  const found = new Map<string, string[]>();
  for (const block of listing.split("\n\n")) {
    const [, source, ...headers] = block.split("\n").map((line) => line.trim());
    if (source !== undefined && source !== "") {
      const own = headers.map((path) => resolve(path)).filter((path) => path.startsWith(ours));
      found.set(resolve(source), own.toSorted());
    }
  }
  return found;
}
