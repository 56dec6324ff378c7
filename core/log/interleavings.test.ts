// Goal: whatever the order of requests and whatever becomes of their answers, at most one epoch
// commits, the other writer ends in `fenced`, nothing acknowledged is lost and nothing foreign is
// read (I3, I4). Method: two writers, checkpoints, a janitor without grace and late requests in
// 1,000 seeded runs; a judge compares with the truth in the bucket. The same judge must convict
// planted faults.
//
// To replay a run: WEIR_SEED=<seed> vitest run core/log/interleavings.test.ts; WEIR_RUNS=<count>
// runs more.

import { expect, test } from "vitest";

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, comparePositions } from "../runtime/ids.ts";
import type { ListPage, ObjectStore } from "../store/object-store.ts";
import { claimEpoch, findNewestEpoch } from "./epochs.ts";
import { createOwned } from "./create-object.ts";
import { checkpointsPrefix, logKey, logPrefix, parseLogKey } from "./keys.ts";
import { openLog, readLog } from "./open-log.ts";
import type { LogSegment } from "./sealing.ts";
import { decodeLogHeader } from "./segment-codec.ts";
import { asError, isFenced, REAL_PARTS, VolumeWorld } from "../../test/support/log/volume-world.ts";
import type { Parts } from "../../test/support/log/volume-world.ts";

const RUNS = Number(process.env["WEIR_RUNS"] ?? 1000);
const onlySeed = process.env["WEIR_SEED"];
const SEEDS =
  onlySeed === undefined
    ? Array.from({ length: RUNS }, (_, index) => index + 1)
    : [Number(onlySeed)];

interface Verdict {
  readonly violations: readonly string[];
  readonly trace: readonly string[];
  /** What happened in the run: a suite in which a thing never happens proves nothing about it. */
  readonly events: readonly string[];
}

async function runSeed(seed: number, parts: Parts = REAL_PARTS): Promise<Verdict> {
  const world = new VolumeWorld({ seed, parts });
  await world.create();
  const checkpoints = seed % 2 === 0;
  const violations: string[] = [];
  try {
    await world.scheduler.run([
      world.liveAsWriter("A", { count: 6, checkpoints }),
      world.liveAsWriter("B", { count: 6, checkpoints }),
      ...(checkpoints ? [world.liveAsJanitor(6)] : []),
    ]);
    violations.push(...(await judgeWriters(world)));
    violations.push(...(await judgeReaders(world)));
  } catch (cause) {
    violations.push(`the run failed: ${String(cause)}`);
  }
  return { violations, trace: world.scheduler.trace, events: eventsOf(world) };
}

/** The writer with the highest epoch goes on, everybody else is fenced. */
async function judgeWriters(world: VolumeWorld): Promise<readonly string[]> {
  const violations: string[] = [];
  const openers = world.writers.filter((life) => life.opened !== undefined);
  const winner = Math.max(...openers.map((life) => life.opened?.epoch ?? 0));
  await world.scheduler.run(
    openers.map(async (life) => {
      try {
        if (life.fault === undefined) await life.commitNext?.();
      } catch (cause) {
        life.fault = asError(cause);
      }
    }),
  );
  for (const life of world.writers) {
    if (life.opened?.epoch === winner) {
      if (life.fault !== undefined)
        violations.push(`${life.name} won, but ended: ${life.fault.message}`);
    } else if (!isFenced(life.fault)) {
      violations.push(`${life.name} lost, but was not fenced: ${life.fault?.message}`);
    }
  }
  return violations;
}

/** What each writer saw when it opened, and what third parties see, is the committed log. */
async function judgeReaders(world: VolumeWorld): Promise<readonly string[]> {
  const violations: string[] = [];
  const [view, taken] = await world.scheduler.run([
    world.readAs(world.client({ name: "reader" })),
    world.openAs(world.client({ name: "taker" })),
  ]);
  await world.scheduler.drain();
  if (view?.status !== "fulfilled") violations.push(`the reader failed: ${view?.reason}`);
  else violations.push(...(await world.judgeView("the reader", view.value)));
  if (taken?.status !== "fulfilled" || !("epoch" in taken.value)) {
    violations.push(`the taker failed: ${String(taken?.status === "rejected" && taken.reason)}`);
  } else {
    violations.push(...(await world.judgeView("the taker", taken.value)));
  }
  for (const { name, opened } of world.writers) {
    if (opened === undefined) continue;
    violations.push(...(await world.judgeView(name, opened, opened.epoch)));
  }
  violations.push(...(await world.judgeLog()));
  return violations;
}

function eventsOf(world: VolumeWorld): readonly string[] {
  const events = new Set<string>();
  for (const { store, opened, fault } of world.writers) {
    for (const kind of store.faults.keys()) events.add(kind);
    if (isFenced(fault))
      events.add(opened === undefined ? "fenced while opening" : "fenced as writer");
    if (opened !== undefined && opened.segments.length > 0) events.add("took a log over");
    if (opened !== undefined && opened.checkpoint !== null) events.add("took a checkpoint over");
  }
  for (const step of world.scheduler.trace) if (step.startsWith("late")) events.add("late applied");
  return [...events];
}

test(
  `${SEEDS.length} interleavings of two writers keep the log right`,
  { timeout: 120_000 },
  async () => {
    const events = new Map<string, number>();
    for (const seed of SEEDS) {
      const verdict = await runSeed(seed);
      for (const event of verdict.events) events.set(event, (events.get(event) ?? 0) + 1);
      const replay = `WEIR_SEED=${seed}`;
      const trace = verdict.violations.length > 0 ? verdict.trace : [];
      expect({ replay, ...verdict, trace }).toMatchObject({ replay, violations: [], trace: [] });
    }
    if (onlySeed !== undefined) return;
    const rare: string[] = [];
    for (const event of [
      "lost-after",
      "lost-before",
      "late",
      "own-412",
      "conflict",
      "unavailable",
      "late applied",
      "fenced while opening",
      "fenced as writer",
      "took a log over",
      "took a checkpoint over",
    ]) {
      if ((events.get(event) ?? 0) <= 10) rare.push(event);
    }
    expect(rare).toEqual([]);
  },
);

test("the same seed gives the same run", async () => {
  for (const seed of [3, 4, 5, 6]) {
    expect((await runSeed(seed)).trace).toEqual((await runSeed(seed)).trace);
  }
});

/** Takes "exists" for success: the mistake that loses a segment to a SEAL. */
const trustsExists: Parts = {
  ...REAL_PARTS,
  writer: ({ store, volume, epoch }) => ({
    async commitSegment({ seq, bytes }) {
      for (;;) {
        const { kind } = await store.create(logKey({ volume, epoch, seq }), bytes);
        if (kind === "created" || kind === "exists") return;
      }
    },
  }),
};

/** Takes "exists" for defeat: the mistake that fences a writer whose answer was lost. */
const fearsExists: Parts = {
  ...REAL_PARTS,
  writer: (options) => {
    const { store, volume, epoch } = options;
    const inner = REAL_PARTS.writer(options);
    return {
      async commitSegment({ seq, bytes }) {
        const { kind } = await store.create(logKey({ volume, epoch, seq }), bytes);
        if (kind === "exists") throw new WeirError("fenced", "planted");
        await inner.commitSegment({ seq, bytes });
      },
    };
  },
};

/** Acknowledges a segment as soon as it is in the bucket, whatever is missing before it. */
const ignoresPrefix: Parts = {
  ...REAL_PARTS,
  writer: (options) => ({
    async commitSegment({ seq, bytes }) {
      const key = logKey({ volume: options.volume, epoch: options.epoch, seq });
      const outcome = await createOwned({ ...options, key, bytes });
      if (outcome.kind === "foreign")
        await REAL_PARTS.writer(options).commitSegment({ seq, bytes });
    },
  }),
};

/** Claims its epoch and reads, but seals nothing. */
const doesNotSeal: Parts = {
  ...REAL_PARTS,
  open: async (options) => {
    const newest = await findNewestEpoch(options);
    const from = { epoch: asEpoch(0), seq: (await readLog(options)).committed.position.seq };
    const claim = await claimEpoch({ ...options, newest, from });
    return { ...(await readLog(options)), ...claim };
  },
};

/** Reads every segment that is listed, behind SEALs as well. */
const readsBehindSeals: Parts = {
  ...REAL_PARTS,
  read: async (options) => {
    const view = await readLog(options);
    const { objects } = await options.store.list(logPrefix(options.volume));
    const segments: LogSegment[] = [];
    for (const { key } of objects) {
      const found = await readUntilFound(options.store, key);
      const header = decodeLogHeader(found);
      const position = parseLogKey(key);
      const base = view.checkpoint?.header;
      if (header.kind === "seal" || position === undefined) continue;
      if (base !== undefined && comparePositions(position, base) <= 0) continue;
      segments.push({ position, header, indexBytes: found });
    }
    return { ...view, segments };
  },
};

async function readUntilFound(store: ObjectStore, key: string): Promise<Uint8Array> {
  for (;;) {
    const found = await store.get(key).catch(() => undefined);
    if (found?.kind === "found") return found.bytes;
  }
}

/** Never looks for a checkpoint twice: takes a cleaned segment for the end of the log. */
const missesCheckpoints: Parts = {
  ...REAL_PARTS,
  open: (options) => {
    const prefix = checkpointsPrefix(options.volume);
    let first: ListPage | undefined;
    const list: ObjectStore["list"] = async (asked, how) => {
      if (asked !== prefix) return options.store.list(asked, how);
      first ??= await options.store.list(asked, how);
      return first;
    };
    const store: ObjectStore = {
      label: options.store.label,
      create: (key, body) => options.store.create(key, body),
      get: (key, how) => options.store.get(key, how),
      list,
      delete: (key) => options.store.delete(key),
      [Symbol.asyncDispose]: async () => {},
    };
    return openLog({ ...options, store });
  },
};

/**
 * Makes the same "random" nonces as every other taker: a foreign epoch record looks like its own.
 */
const sharesNonces: Parts = {
  ...REAL_PARTS,
  open: (options) => {
    const random = { hex32: () => "0".repeat(32), fraction: () => 0 };
    return openLog({ ...options, random, writer: "anybody" });
  },
};

test.each<[string, Parts, RegExp]>([
  ["a writer that takes any `exists` for success", trustsExists, /acknowledged, but not in/u],
  ["a writer that takes any `exists` for defeat", fearsExists, /won, but ended/u],
  ["a writer that acknowledges without the prefix", ignoresPrefix, /acknowledged, but not in/u],
  ["a taker that does not seal", doesNotSeal, /lost, but was not fenced/u],
  ["a reader that goes on behind a SEAL", readsBehindSeals, /the reader saw/u],
  ["a taker that does not look for newer checkpoints", missesCheckpoints, /^[AB] saw/u],
  ["takers whose nonces are not random", sharesNonces, /another writer uses its epoch/u],
])("the judge convicts %s", async (_, parts, reason) => {
  const found: string[] = [];
  for (let seed = 1; seed <= 400; seed += 1) {
    found.push(...(await runSeed(seed, parts)).violations);
    if (found.some((violation) => reason.test(violation))) break;
  }
  expect(found.join("\n")).toMatch(new RegExp(reason, "mu"));
});
