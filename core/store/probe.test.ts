// Goal: the probe accepts stores that keep the promise, cleans up, and refuses each kind of store
// that does not, with a sentence that says what it lacks. Method: good stores; memory stores with
// one broken behaviour each; and s3rver, a real S3 server without conditional writes.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import S3rver from "s3rver";
import { describe, expect, test } from "vitest";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { realClock, realRandom } from "../runtime/real-ports.ts";
import { Secret } from "../runtime/secret.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { DirectoryStore } from "./directory-store.ts";
import { FaultyStore } from "./faulty-store.ts";
import { MemoryStore } from "./memory-store.ts";
import type { ByteRange, CreateOutcome, GetOutcome, ListPage } from "./object-store.ts";
import { probeStore } from "./probe.ts";
import { S3Store } from "./s3-store.ts";

const clock = new FakeClock();
const random = new SeededRandom(1);

const ALL_STEPS = [
  "create-absent",
  "create-present",
  "create-race",
  "ranges",
  "list-after-create",
  "delete",
].map((name) => ({ name, outcome: "passed" }));

describe("the probe accepts", () => {
  test("the memory store, and leaves nothing", async () => {
    const store = new MemoryStore({ clock });
    const report = await probeStore(store, { random });
    expect(report).toEqual({ store: "memory:", steps: ALL_STEPS });
    expect(store.keys()).toEqual([]);
  });

  test("the directory store, and leaves nothing", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-probe-"));
    const store = new DirectoryStore({ root, clock: realClock, random: realRandom });
    expect((await probeStore(store, { random })).steps).toEqual(ALL_STEPS);
    expect(await store.list("")).toEqual({ objects: [] });
    await rm(root, { recursive: true });
  });

  test("a store whose deletes are denied, and one that calls races off", async () => {
    const inner = new MemoryStore({ clock });
    const store = new FaultyStore({ inner, clock, random });
    store.addRule({ on: "delete", fault: { kind: "refuse", code: "store-denied" } });
    store.addRule({ on: "create", key: "*/race-0-0", fault: { kind: "conflict" } });
    const report = await probeStore(store, { random });
    expect(report.steps.at(-1)).toEqual({ name: "delete", outcome: "denied" });
  });
});

class Overwriting extends MemoryStore {
  override async create(key: string, body: Uint8Array): Promise<CreateOutcome> {
    this.overwrite(key, body);
    return { kind: "created" };
  }
}

class OverwritingInSecret extends MemoryStore {
  override async create(key: string, body: Uint8Array): Promise<CreateOutcome> {
    const outcome = await super.create(key, body);
    this.overwrite(key, body);
    return outcome;
  }
}

class AlwaysCreated extends MemoryStore {
  override async create(key: string, body: Uint8Array): Promise<CreateOutcome> {
    await super.create(key, body);
    return { kind: "created" };
  }
}

class NeverCreated extends MemoryStore {
  override async create(): Promise<CreateOutcome> {
    return { kind: "exists" };
  }
}

/** Looks first and writes afterwards. */
class Racy extends MemoryStore {
  override async create(key: string, body: Uint8Array): Promise<CreateOutcome> {
    const found = await super.get(key);
    if (found.kind === "found") return { kind: "exists" };
    this.overwrite(key, body);
    return { kind: "created" };
  }
}

/** Tells one racer that it won and keeps the body of another. */
class LastBodyWins extends MemoryStore {
  override async create(key: string, body: Uint8Array): Promise<CreateOutcome> {
    const outcome = await super.create(key, body);
    if (key.includes("race")) this.overwrite(key, body);
    return outcome;
  }
}

class WithoutRanges extends MemoryStore {
  override get(key: string): Promise<GetOutcome> {
    return super.get(key);
  }
}

class RangesOffByOne extends MemoryStore {
  override get(key: string, options: { range?: ByteRange } = {}): Promise<GetOutcome> {
    const { range } = options;
    if (range === undefined) return super.get(key);
    return super.get(key, { range: { offset: range.offset, length: range.length + 1 } });
  }
}

class StaleList extends MemoryStore {
  override async list(): Promise<ListPage> {
    return { objects: [] };
  }
}

class UnorderedList extends MemoryStore {
  override async list(prefix: string, options: { after?: string } = {}): Promise<ListPage> {
    const page = await super.list(prefix, options);
    return { objects: page.objects.toReversed() };
  }
}

class DeafToAfter extends MemoryStore {
  override list(prefix: string, options: { limit?: number } = {}): Promise<ListPage> {
    const { limit = 1000 } = options;
    return super.list(prefix, { limit });
  }
}

class Undeletable extends MemoryStore {
  override async delete(): Promise<void> {}
}

describe("the probe refuses", () => {
  test.each([
    [new Overwriting({ clock }), "create-present", "ignores If-None-Match and overwrites"],
    [new OverwritingInSecret({ clock }), "create-present", "ignores If-None-Match"],
    [new AlwaysCreated({ clock }), "create-present", "reports success for a conditional write"],
    [new NeverCreated({ clock }), "create-absent", "answers 'exists' where nothing was"],
    [new Racy({ clock }), "create-race", "8 of 8 racing creates were successful"],
    [new LastBodyWins({ clock }), "create-race", "not that of the create which won"],
    [new WithoutRanges({ clock }), "ranges", "exactly the bytes of a range"],
    [new RangesOffByOne({ clock }), "ranges", "exactly the bytes of a range"],
    [new StaleList({ clock }), "list-after-create", "lacks what was just created"],
    [new UnorderedList({ clock }), "list-after-create", "or is not in order"],
    [new DeafToAfter({ clock }), "list-after-create", "does not go on where it should"],
    [new Undeletable({ clock }), "delete", "still has an object after its deletion"],
  ])("%o at %s", async (store, step, sentence) => {
    await expect(probeStore(store, { random })).rejects.toMatchObject({
      code: "backend-unsafe",
      message: expect.stringContaining(sentence),
      details: { store: "memory:", step },
    });
  });

  test("s3rver, which overwrites whatever the condition says", async () => {
    const directory = await mkdtemp(join(tmpdir(), "weir-s3rver-"));
    const server = new S3rver({
      ...{ address: "127.0.0.1", port: 0, directory, silent: true },
      configureBuckets: [{ name: "weir" }],
    });
    const { port } = await server.run();
    await using store = new S3Store({
      ...{ bucket: "weir", prefix: "", endpoint: `http://127.0.0.1:${port}`, region: "us-east-1" },
      credentials: { accessKeyId: "S3RVER", secretAccessKey: new Secret("S3RVER") },
      clock: realClock,
    });
    await expect(probeStore(store, { random: realRandom })).rejects.toMatchObject({
      code: "backend-unsafe",
      details: { step: "create-present" },
    });
    expect(await store.list("probe/")).toEqual({ objects: [] });
    await server.close();
    await rm(directory, { recursive: true });
  });
});

describe("the probe gives no verdict", () => {
  test("when an answer is lost, and cleans up all the same", async () => {
    const inner = new MemoryStore({ clock });
    const store = new FaultyStore({ inner, clock, random });
    store.addRule({ on: "create", nth: 5, fault: { kind: "lose-answer" } });
    await expect(probeStore(store, { random })).rejects.toMatchObject({
      code: "store-unavailable",
      message: "the store gave no clear answer to the backend probe",
    });
    expect(inner.keys()).toEqual([]);
  });

  test("when it is aborted", async () => {
    const reason = new WeirError("fenced", "the test ends it");
    const store = new MemoryStore({ clock });
    const signal = AbortSignal.abort(reason);
    await expect(probeStore(store, { random, signal })).rejects.toBe(reason);
  });
});
