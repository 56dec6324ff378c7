// Goal: the directory store lists exactly as the memory store does. Method: random keys, prefixes,
// `after` strings and limits, with the characters around `/` in byte order, where mistakes would
// hide.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { realClock, realRandom } from "../runtime/real-ports.ts";
import { DirectoryStore } from "./directory-store.ts";
import { MemoryStore } from "./memory-store.ts";

const segment = fc
  .string({ unit: fc.constantFrom("a", "b", "0", "-", ".", "_"), minLength: 1, maxLength: 3 })
  .filter((name) => !name.startsWith("."));
const keys = fc.array(segment, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
/** Cut anywhere, so that it ends inside a name as often as at its end. */
const partOfKey = fc.tuple(keys, fc.nat(12)).map(([key, length]) => key.slice(0, length));

test("directory and memory list the same pages", async () => {
  const scratch = mkdtempSync(join(tmpdir(), "weir-directory-list-"));
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(keys, { maxLength: 12 }),
      fc.array(fc.tuple(partOfKey, partOfKey, fc.integer({ min: 1, max: 5 })), { maxLength: 8 }),
      async (candidates, queries) => {
        runs += 1;
        const root = join(scratch, String(runs));
        mkdirSync(root);
        const directory = new DirectoryStore({ root, clock: realClock, random: realRandom });
        const memory = new MemoryStore({ clock: realClock });
        // A directory cannot hold a key that is another one's folder.
        const usable = candidates.filter(
          (key) => !candidates.some((other) => other.startsWith(`${key}/`)),
        );
        for (const key of usable) {
          const body = new Uint8Array(key.length);
          await Promise.all([directory.create(key, body), memory.create(key, body)]);
        }
        for (const [prefix, after, limit] of queries) {
          const pages = await Promise.all(
            [directory, memory].map(async (store) => {
              const { objects, next } = await store.list(prefix, { after, limit });
              return { objects: objects.map(({ key, sizeBytes }) => [key, sizeBytes]), next };
            }),
          );
          expect(pages[0]).toEqual(pages[1]);
        }
      },
    ),
    { numRuns: 60 },
  );
  rmSync(scratch, { recursive: true });
});
