// Writes golden files that are not there yet. It never overwrites one: a golden file is what a
// release has written, and later releases must go on reading it.
//
//   node core/log/golden/generate.ts

import { existsSync, writeFileSync } from "node:fs";

import { encodeGoldenFiles } from "./contents.ts";

let written = 0;
for (const [name, bytes] of encodeGoldenFiles()) {
  const path = new URL(name, import.meta.url);
  if (existsSync(path)) continue;
  writeFileSync(path, bytes, { flag: "wx" });
  written += 1;
}
process.stdout.write(`${written} golden files written, existing ones left as they are\n`);
