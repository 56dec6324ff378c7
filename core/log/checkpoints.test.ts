// Goal: a checkpoint holds exactly the map it was given: new chunks here, kept ones where they
// were, dropped ones nowhere; each is read with one request and verified; writing it twice is
// harmless. Method: chains of random checkpoints against a model; damage; requests counted.

import * as fc from "fast-check";
import { expect, test } from "vitest";

import { asEpoch, asSeq } from "../runtime/ids.ts";
import type { CheckpointRoot } from "./checkpoint-codec.ts";
import { findCheckpoint, readCheckpointRoot, readChunk, writeCheckpoint } from "./checkpoints.ts";
import { decodeChunk } from "./chunk-codec.ts";
import { checkpointKey } from "./keys.ts";
import { countRequests, memoryContext } from "../../test/support/log/memory-context.ts";
import type { MemoryContext } from "../../test/support/log/memory-context.ts";
import { GIB, JOURNAL, samplePayload, sampleUid } from "../../test/support/log/samples.ts";

const changes = fc.uniqueArray(fc.record({ chunk: fc.nat(15), drop: fc.boolean() }), {
  selector: ({ chunk }) => chunk,
  maxLength: 6,
});

function setUp() {
  const context = memoryContext();
  const volume = sampleUid(context.random);
  const at = (seq: number, previous: CheckpointRoot | null) => ({
    ...context,
    volume,
    position: { epoch: asEpoch(1), seq: asSeq(seq) },
    journalId: JOURNAL,
    journalEnd: seq,
    volumeSizeBytes: GIB,
    previous,
  });
  return { context, volume, at };
}

/** Which segment number each chunk's map names. */
async function readAll(context: MemoryContext, root: CheckpointRoot) {
  const found = new Map<number, number | undefined>();
  for (const { chunk } of root.chunks) {
    const payload = await readChunk({ ...context, root, chunk });
    found.set(chunk, decodeChunk(chunk, payload).segments[0]?.seq);
  }
  return found;
}

test("a chain of checkpoints reads as the map it was written from", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(changes, { minLength: 1, maxLength: 8 }), async (steps) => {
      const { context, volume, at } = setUp();
      const model = new Map<number, number>();
      let root: CheckpointRoot | null = null;
      for (const [index, step] of steps.entries()) {
        const seq = index + 1;
        const changed = step.map(({ chunk, drop }) => ({
          chunk,
          payload: drop ? null : samplePayload({ volume, chunk, seq }),
        }));
        for (const { chunk, payload } of changed) {
          if (payload === null) model.delete(chunk);
          else model.set(chunk, seq);
        }
        root = await writeCheckpoint({ ...at(seq, root), changed });
        expect(await readAll(context, root)).toEqual(
          new Map([...model].toSorted(([a], [b]) => a - b)),
        );
      }
      const place = await findCheckpoint({ ...context, volume });
      expect(place).toEqual({ volume, epoch: 1, seq: steps.length });
      if (place === undefined) return;
      const reread = await readCheckpointRoot({ ...context, place, volumeSizeBytes: GIB });
      expect(reread).toEqual(root);
      // No object is listed that holds nothing of the map, but for the checkpoint itself.
      const used = new Set([0, ...reread.chunks.map(({ object }) => object)]);
      expect(used.size).toBe(reread.objects.length);
    }),
    { numRuns: 100 },
  );
});

test("writing costs one request, a chunk one, finding one", async () => {
  const { context, volume, at } = setUp();
  const changed = [{ chunk: 3, payload: samplePayload({ volume, chunk: 3, seq: 1 }) }];
  const written = await countRequests(context, () => writeCheckpoint({ ...at(1, null), changed }));
  expect(written.requests).toBe(1);
  const root = written.result;
  expect(
    (await countRequests(context, () => readChunk({ ...context, root, chunk: 3 }))).requests,
  ).toBe(1);
  expect(
    (await countRequests(context, () => findCheckpoint({ ...context, volume }))).requests,
  ).toBe(1);
});

test("a checkpoint that is there for the same position is taken as it is", async () => {
  const { volume, at } = setUp();
  const changed = [{ chunk: 3, payload: samplePayload({ volume, chunk: 3, seq: 1 }) }];
  const first = await writeCheckpoint({ ...at(1, null), changed });
  const second = await writeCheckpoint({ ...at(1, null), changed });
  expect(second).toEqual(first);
});

test("damaged payloads are neither written nor served", async () => {
  const { context, volume, at } = setUp();
  const payload = samplePayload({ volume, chunk: 3, seq: 1 });
  const asAnotherChunk = writeCheckpoint({ ...at(1, null), changed: [{ chunk: 4, payload }] });
  await expect(asAnotherChunk).rejects.toMatchObject({ code: "object-corrupt" });
  const root = await writeCheckpoint({ ...at(1, null), changed: [{ chunk: 3, payload }] });
  const key = checkpointKey(root.header);
  const found = await context.bucket.get(key);
  if (found.kind !== "found") throw new Error("the checkpoint is there");
  const bytes = Uint8Array.from(found.bytes);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  context.bucket.overwrite(key, bytes);
  const damaged = { code: "object-corrupt", details: { key } };
  await expect(readChunk({ ...context, root, chunk: 3 })).rejects.toMatchObject(damaged);
  context.bucket.overwrite(key, bytes.subarray(0, bytes.length - 1));
  await expect(readChunk({ ...context, root, chunk: 3 })).rejects.toMatchObject(damaged);
  await context.bucket.delete(key);
  await expect(readChunk({ ...context, root, chunk: 3 })).rejects.toMatchObject(damaged);
  await expect(readChunk({ ...context, root, chunk: 9 })).rejects.toMatchObject({
    code: "internal",
  });
});
