// Goal: lines come out whole, in order and once, wherever the stream of bytes was cut, and an
// endless line does not fill the memory. Method: random texts cut at random places.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { linesOf } from "./kube-lines.ts";

async function* cutAt(bytes: Buffer, places: readonly number[]): AsyncGenerator<Buffer> {
  let start = 0;
  for (const end of [...places.toSorted((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(start, Math.min(end, bytes.length));
    start = Math.min(end, bytes.length);
  }
}

const line = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !text.includes("\n"));

test("any cut of any text gives the lines that were written", async () => {
  const texts = fc.array(line, { maxLength: 8 });
  const cuts = fc.array(fc.nat(100), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(texts, cuts, fc.boolean(), async (lines, places, isEnded) => {
      const text = lines.join("\n") + (isEnded && lines.length > 0 ? "\n" : "");
      const found = await Array.fromAsync(linesOf(cutAt(Buffer.from(text), places)));
      expect(found).toEqual(lines);
    }),
  );
});

test("a line without end is refused before it fills the memory", async () => {
  let sent = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      sent += 1;
      yield Buffer.alloc(2 ** 20, "x");
    }
  }
  await expect(linesOf(endless()).next()).rejects.toMatchObject({ code: "kube-unavailable" });
  expect(sent).toBeLessThan(20);
});
