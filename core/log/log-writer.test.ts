// Goal: a segment is acknowledged exactly when it and all before it are in the bucket; a fenced
// writer is fenced for good; a number is never tried with two contents. Method: PUTs that the test
// holds back, releases in any order, or answers with foreign objects. Random orders and faults are
// in interleavings.test.ts.

import { expect, test } from "vitest";

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, asNonce, asSeq } from "../runtime/ids.ts";
import { logKey } from "./keys.ts";
import { LogWriter } from "./log-writer.ts";
import { encodeSeal } from "./segment-codec.ts";
import { memoryContext } from "../../test/support/log/memory-context.ts";
import { sampleSegment, sampleUid } from "../../test/support/log/samples.ts";
import { ScriptedStore } from "../../test/support/log/scripted-store.ts";

const EPOCH = asEpoch(3);

function setUp(options: { onRetry?: (fault: WeirError) => void } = {}) {
  const memory = memoryContext();
  const store = new ScriptedStore(memory.bucket);
  const volume = sampleUid(memory.random);
  const stop = new AbortController();
  const { signal } = stop;
  const writer = new LogWriter({ ...memory, store, signal, volume, epoch: EPOCH, ...options });
  const segment = (seq: number) => {
    const { bytes } = sampleSegment({ volume, epoch: EPOCH, seq, random: memory.random });
    return { seq: asSeq(seq), bytes };
  };
  /** Somebody with a higher epoch ends ours at `seq`. */
  const seal = async (seq: number): Promise<void> => {
    const place = { volume, epoch: EPOCH, seq: asSeq(seq) };
    const nonce = asNonce(memory.random.hex32());
    const bytes = encodeSeal({ ...place, nonce, sealedByEpoch: asEpoch(9), createdAtMs: 0 });
    await memory.bucket.create(logKey(place), bytes);
  };
  /** Holds the next PUT back until the returned function is called. */
  const hold = (): (() => void) => {
    const gate = Promise.withResolvers<void>();
    store.creates.push(async (apply) => {
      await gate.promise;
      return apply();
    });
    return gate.resolve;
  };
  return { writer, store, segment, seal, hold, stop, clock: memory.clock };
}

/** The order in which promises settle. */
function watch(names: Record<string, Promise<void>>): string[] {
  const settled: string[] = [];
  for (const [name, promise] of Object.entries(names)) {
    promise.then(
      () => settled.push(`${name} committed`),
      (cause: WeirError) => settled.push(`${name} ${cause.code}`),
    );
  }
  return settled;
}

test("a segment is committed when all before it are", async () => {
  const { writer, segment, hold, clock } = setUp();
  const first = hold();
  const second = hold();
  const settled = watch({
    one: writer.commitSegment(segment(1)),
    two: writer.commitSegment(segment(2)),
    three: writer.commitSegment(segment(3)),
  });
  await clock.settle();
  expect(settled).toEqual([]);
  second();
  await clock.settle();
  expect(settled).toEqual([]);
  expect(writer.committedSeq).toBe(0);
  first();
  await clock.settle();
  expect(settled.toSorted()).toEqual(["one committed", "three committed", "two committed"]);
  expect(writer.committedSeq).toBe(3);
});

test("a foreign object ends the writer for good, but not what is before it", async () => {
  const { writer, segment, seal, hold, clock } = setUp();
  const first = hold();
  const settled = watch({
    one: writer.commitSegment(segment(1)),
    three: writer.commitSegment(segment(3)),
  });
  await clock.settle();
  await seal(2);
  watch({ two: writer.commitSegment(segment(2)) });
  await clock.settle();
  expect(settled).toEqual(["three fenced"]);
  first();
  await clock.settle();
  expect(settled).toEqual(["three fenced", "one committed"]);
  await expect(writer.commitSegment(segment(4))).rejects.toMatchObject({ code: "fenced" });
  expect(writer.fenced?.message).toContain("epoch 9");
  expect(writer.committedSeq).toBe(1);
});

test("a second writer with the same epoch is noticed", async () => {
  const { writer, segment, store } = setUp();
  await store.create(logKeyOf(segment(1).bytes), segment(1).bytes);
  const commit = writer.commitSegment(segment(1));
  await expect(commit).rejects.toThrow("another writer uses its epoch 3");
});

function logKeyOf(bytes: Uint8Array) {
  const volume = Buffer.from(bytes.subarray(16, 32)).toString("hex");
  return `volumes/${volume}/log/0000000000000003/0000000000000001`;
}

test("an unreadable object at our place fences too", async () => {
  const { writer, segment, store } = setUp();
  await store.create(logKeyOf(segment(1).bytes), Buffer.from("rubbish"));
  await expect(writer.commitSegment(segment(1))).rejects.toMatchObject({ code: "fenced" });
});

test("a store that is away is asked until it is back, and somebody is told", async () => {
  const told: string[] = [];
  const { writer, segment, store, clock } = setUp({ onRetry: (fault) => told.push(fault.code) });
  for (let tries = 0; tries < 200; tries += 1) {
    store.creates.push(async () => {
      throw new WeirError(tries < 100 ? "store-unavailable" : "disk-full", "planted");
    });
  }
  await clock.runUntil(writer.commitSegment(segment(1)));
  expect(writer.committedSeq).toBe(1);
  expect(new Set(told)).toEqual(new Set(["store-unavailable", "disk-full"]));
  expect(clock.timerCount).toBe(0);
});

test("after a fault that no repetition helps, the same bytes may be tried again", async () => {
  const { writer, segment, store } = setUp();
  const one = segment(1);
  store.creates.push(async () => {
    throw new WeirError("store-missing", "planted");
  });
  await expect(writer.commitSegment(one)).rejects.toMatchObject({ code: "store-missing" });
  await expect(writer.commitSegment(segment(1))).rejects.toMatchObject({ code: "internal" });
  await writer.commitSegment(one);
  await writer.commitSegment(one);
  expect(writer.committedSeq).toBe(1);
});

test("bytes of another place, a SEAL, or the same number twice at once are defects", async () => {
  const { writer, segment, hold, clock } = setUp();
  const wrong = { seq: asSeq(2), bytes: segment(1).bytes };
  await expect(writer.commitSegment(wrong)).rejects.toMatchObject({ code: "object-corrupt" });
  const one = segment(1);
  const release = hold();
  const commit = writer.commitSegment(one);
  await expect(writer.commitSegment(one)).rejects.toMatchObject({ code: "internal" });
  release();
  await clock.settle();
  await commit;
});

test("the end of the session rejects everything that waits", async () => {
  const { writer, segment, hold, stop, clock } = setUp();
  const first = hold();
  const settled = watch({
    one: writer.commitSegment(segment(1)),
    two: writer.commitSegment(segment(2)),
  });
  await clock.settle();
  stop.abort(new WeirError("aborted", "the volume is being detached"));
  first();
  await clock.settle();
  expect(settled).toContain("two aborted");
  await expect(writer.commitSegment(segment(3))).rejects.toMatchObject({ code: "aborted" });
});
