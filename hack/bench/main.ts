// npm run bench [-- --json FILE] [--only nbd,ublk,handoff,operator] [--pairs 5] [--rounds 9]
//   [--seconds 5] [--handoffs 50]
// Measures Weir against its bars, every ratio within this one run; exit status 1 when a row misses
// its bar. The handoff is measured when it is named: fifty in each of eight runs in each guest take
// more time than all the rest.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildNative } from "../native-build.ts";
import { ensurePackages } from "../packages.ts";
import { cache } from "../places.ts";
import { benchHandoff } from "./handoff.ts";
import { benchNbd } from "./nbd.ts";
import { benchOperator } from "./operator.ts";
import { printTable, type Row } from "./rows.ts";
import { benchUblk } from "./ublk.ts";

const { values } = parseArgs({
  options: {
    json: { type: "string" },
    only: { type: "string", default: "nbd,ublk,operator" },
    pairs: { type: "string", default: "5" },
    rounds: { type: "string", default: "9" },
    seconds: { type: "string", default: "5" },
    handoffs: { type: "string", default: "50" },
  },
});

const groups = values.only.split(",");
if (groups.some((group) => group !== "operator")) {
  await ensurePackages(["build", "disk", "vm"]);
  if (!(await buildNative("release", "inherit"))) process.exit(1);
}
mkdirSync(cache, { recursive: true });
// Below the cache, not in /tmp: that may be in memory, and these figures are about a disk.
const folder = mkdtempSync(join(cache, "bench-"));
const options = {
  folder,
  pairs: Number(values.pairs),
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  handoffs: Number(values.handoffs),
};
const rows: Row[] = [];
try {
  for (const group of groups) {
    console.error(`bench: ${group}`);
    if (group === "nbd") rows.push(...(await benchNbd(options)));
    else if (group === "ublk") rows.push(...(await benchUblk(options)));
    else if (group === "handoff") rows.push(...(await benchHandoff(options)));
    else if (group === "operator") rows.push(...(await benchOperator(options)));
    else throw new Error(`there is no bench "${group}": choose nbd, ublk, handoff or operator`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
printTable(rows);
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
process.exit(rows.every((row) => row.ok) ? 0 : 1);
