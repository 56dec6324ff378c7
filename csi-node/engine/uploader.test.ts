// Goal: a paused uploader leaves the log where it is, and loses nothing; one whose epoch comes late
// uploads nothing before; a drain commits what was acknowledged before it and ends, whoever goes on
// writing. Method: a volume of numbered batches, commits that end when the test says so.
import { expect, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { asEpoch } from "../../core/runtime/ids.ts";
import { Uploader, type UploaderOptions, type UploadTarget } from "./uploader.ts";

const { signal } = new AbortController();

class World {
  readonly clock = new FakeClock();
  /** Batches that wait to be taken. */
  dirty = 0;
  taken = 0;
  committed = 0;
  /** What the pod does just before a batch is taken. */
  beforeTake: () => void = () => undefined;
  readonly faults: WeirError[] = [];
  readonly puts: PromiseWithResolvers<void>[] = [];
  readonly uploader: Uploader;

  constructor(options: { readonly target?: Promise<UploadTarget> } = {}) {
    this.uploader = new Uploader({
      ...{ volume: this.#volume(), clock: this.clock, random: new SeededRandom(1) },
      target: options.target ?? Promise.resolve(this.target),
      ...{ maxDirtyAgeMs: 10, segmentBytes: 1, inFlightMax: 2, drainWhenUrgent: false },
      onCommitted: () => undefined,
      onFault: (fault) => this.faults.push(fault),
    });
    this.uploader.start();
  }

  get target(): UploadTarget {
    const commit = (): Promise<void> => {
      const put = Promise.withResolvers<void>();
      this.puts.push(put);
      return put.promise;
    };
    return { epoch: asEpoch(3), commit };
  }

  write(): void {
    this.dirty += 1;
    this.uploader.notify(true);
  }

  #volume(): UploaderOptions["volume"] {
    return {
      // One record per batch.
      stats: async () => ({ journalEnd: this.taken + this.dirty }),
      takeBatch: async () => {
        this.beforeTake();
        if (this.dirty === 0) return null;
        this.dirty -= 1;
        this.taken += 1;
        return { bytes: new Uint8Array(1), rawBytes: 1, journalEnd: this.taken };
      },
      commitBatch: async () => {
        this.committed += 1;
      },
    };
  }
}

test("pausing waits for what is on its way and lets nothing more begin", async () => {
  const world = new World();
  world.write();
  await world.clock.advance(1);
  expect(world.puts.length).toBe(1);
  let paused = false;
  const pausing = world.uploader.pause({ signal }).then(() => (paused = true));
  world.write();
  await world.clock.advance(1_000);
  expect({ paused, taken: world.taken }).toEqual({ paused: false, taken: 1 });
  world.puts[0]?.resolve();
  await pausing;
  await world.clock.advance(1_000);
  expect({ taken: world.taken, committed: world.committed }).toEqual({ taken: 1, committed: 1 });
  world.uploader.resume();
  await world.clock.advance(1);
  expect(world.taken).toBe(2);
  world.puts[1]?.resolve();
  await world.uploader.stop();
  expect(world.faults).toEqual([]);
});

test("a drain that meets a pause goes on after it", async () => {
  const world = new World();
  await world.uploader.pause({ signal });
  world.dirty = 1;
  const drained = world.uploader.drain({ signal });
  await world.clock.advance(1);
  expect(world.taken).toBe(0);
  world.uploader.resume();
  await world.clock.advance(1);
  world.puts[0]?.resolve();
  await drained;
  expect(world.committed).toBe(1);
  await world.uploader.stop();
});

test("a drain ends under writes that never pause", async () => {
  const world = new World();
  world.dirty = 3;
  world.beforeTake = () => {
    world.dirty += 1;
    for (const put of world.puts) put.resolve();
  };
  const drained = world.uploader.drain({ signal });
  for (let turn = 0; turn < 10; turn += 1) {
    await world.clock.advance(1);
    for (const put of world.puts) put.resolve();
  }
  await drained;
  expect({ taken: world.taken, committed: world.committed }).toEqual({ taken: 3, committed: 3 });
  await world.uploader.stop();
});

test("a pause that is given up leaves no pause behind", async () => {
  const world = new World();
  world.write();
  await world.clock.advance(1);
  const caller = new AbortController();
  const pausing = world.uploader.pause({ signal: caller.signal });
  caller.abort();
  await expect(pausing).rejects.toMatchObject({ code: "aborted" });
  world.uploader.resume();
  // Too late to begin one.
  await expect(world.uploader.pause({ signal: caller.signal })).rejects.toMatchObject({
    name: "AbortError",
  });
  world.write();
  await world.clock.advance(1);
  expect(world.taken).toBe(2);
  for (const put of world.puts) put.resolve();
  await world.uploader.stop();
});

test("nothing is taken before there is an epoch to write with", async () => {
  const target = Promise.withResolvers<UploadTarget>();
  const world = new World({ target: target.promise });
  world.write();
  await world.clock.advance(60_000);
  expect(world.taken).toBe(0);
  target.resolve(world.target);
  await world.clock.advance(1);
  expect(world.taken).toBe(1);
  world.puts[0]?.resolve();
  await world.uploader.stop();
});

test("an epoch that cannot be had ends the uploader with the reason", async () => {
  const fenced = new WeirError("fenced", "node-b attached the volume");
  const world = new World({ target: Promise.reject(fenced) });
  world.write();
  await world.clock.advance(1);
  expect(world.faults).toEqual([fenced]);
  await expect(world.uploader.drain({ signal })).rejects.toBe(fenced);
  await world.uploader.stop();
});
