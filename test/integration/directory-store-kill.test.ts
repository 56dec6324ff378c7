// Goal: a process killed at any moment leaves only whole objects in a directory store, all that it
// called created among them, and the next process goes on. Method: a writer process is killed by
// SIGKILL after a random number of answers and a random further moment; the directory is read back
// each time.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { DirectoryStore } from "../../core/store/directory-store.ts";
import { bodyOf, keyOf } from "../support/directory-writer.ts";

const KILLS = 15;
const writer = join(import.meta.dirname, "../support/directory-writer.ts");

test("a kill at any moment leaves whole objects, and all that were acknowledged", async () => {
  const random = new SeededRandom(2026);
  const root = mkdtempSync(join(tmpdir(), "weir-directory-kill-"));
  const store = new DirectoryStore({ root, clock: realClock, random: realRandom });
  let next = 0;
  let cutShort = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const acknowledged = await runUntilKilled(root, next, random);
    const keys = (await store.list("log/")).objects.map((object) => object.key);
    expect(keys.slice(0, acknowledged + 1)).toEqual(numbers(acknowledged + 1).map(keyOf));
    expect(keys.length).toBeLessThanOrEqual(acknowledged + 2);
    for (const key of keys.slice(next)) {
      const found = await store.get(key);
      expect(found).toMatchObject({ kind: "found", objectBytes: bodyOf(0).length });
      const number = Number(key.slice(4));
      const isWhole = found.kind === "found" && Buffer.compare(found.bytes, bodyOf(number)) === 0;
      expect(isWhole).toBe(true);
    }
    next = keys.length;
    cutShort = readdirSync(join(root, "log")).length - keys.length;
  }
  // Otherwise no kill ever hit a create half-way, and the test showed nothing.
  expect(cutShort).toBeGreaterThan(0);
  rmSync(root, { recursive: true });
});

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Gives the last number that the writer called created. */
async function runUntilKilled(root: string, first: number, random: SeededRandom): Promise<number> {
  const child: ChildProcess = spawn(process.execPath, [writer, root, String(first)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exit = once(child, "exit");
  const killAfter = first + 1 + random.integer(5);
  const furtherMs = random.fraction() * 4;
  let last = first - 1;
  if (child.stdout === null) throw new Error("the writer has no output");
  for await (const line of createInterface(child.stdout)) {
    const [number, kind] = line.split(" ");
    expect(kind).toBe("created");
    last = Number(number);
    if (last === killAfter) setTimeout(() => child.kill("SIGKILL"), furtherMs);
  }
  await exit;
  return last;
}
