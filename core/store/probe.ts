// The backend probe: before Weir trusts a store it checks, with real requests, the behaviour that
// its safety rests on (DESIGN's "backend probe"). It works at a random key below `probe/` and
// removes what it made; where it may not delete (a node's role), the janitor does.

import { WeirError } from "../runtime/errors.ts";
import type { Random } from "../runtime/ports.ts";
import type { CallOptions, CreateOutcome, ObjectStore } from "./object-store.ts";

const PROBE_PREFIX = "probe/";

interface ProbeStep {
  readonly name: string;
  /** `denied`: these credentials may not do it, and need not. */
  readonly outcome: "passed" | "denied";
}

export interface ProbeReport {
  readonly store: string;
  readonly steps: readonly ProbeStep[];
}

interface Probe {
  readonly store: ObjectStore;
  readonly folder: string;
  /** For every request. */
  readonly options: CallOptions;
}

interface Step {
  readonly name: string;
  /** What goes wrong in Weir when a store lacks it; ends the sentence of the fault. */
  readonly danger: string;
  readonly run: (probe: Probe) => Promise<string | undefined>;
}

const BODY_BYTES = 8192;
const RACERS = 8;
/** A store that checks first and writes afterwards seldom escapes so many races. */
const RACE_ROUNDS = 6;
const RACE_TRIES_MAX = 5;

/** Each gives undefined, or what the store did instead. */
const STEPS: readonly Step[] = [
  {
    name: "create-absent",
    danger: "so nothing could be stored",
    run: createAbsent,
  },
  {
    name: "create-present",
    danger: "so a second writer could overwrite committed data",
    run: createPresent,
  },
  {
    name: "create-race",
    danger: "so two writers could both believe that they committed the same segment",
    run: createRace,
  },
  {
    name: "ranges",
    danger: "so reads could return other blocks than asked for",
    run: readRanges,
  },
  {
    name: "list-after-create",
    danger: "so the newest checkpoint or epoch could be overlooked",
    run: listAfterCreate,
  },
];

/**
 * Throws `backend-unsafe` at the first step that fails; other faults mean it could not be finished.
 */
export async function probeStore(
  store: ObjectStore,
  options: { readonly random: Random; readonly signal?: AbortSignal },
): Promise<ProbeReport> {
  const folder = `${PROBE_PREFIX}${options.random.hex32()}/`;
  const { signal } = options;
  const probe: Probe = { store, folder, options: signal === undefined ? {} : { signal } };
  const steps: ProbeStep[] = [];
  try {
    for (const step of STEPS) {
      const failure = await step.run(probe);
      if (failure !== undefined) throw unsafe(store, step, failure);
      steps.push({ name: step.name, outcome: "passed" });
    }
  } catch (error) {
    // What went wrong first is what matters.
    await removeAll(probe).catch(() => {});
    throw error;
  }
  steps.push({ name: "delete", outcome: await checkDelete(probe) });
  return { store: store.label, steps };
}

async function createAbsent(probe: Probe): Promise<string | undefined> {
  const { store, options } = probe;
  const key = `${probe.folder}object`;
  const before = await store.get(key, options);
  if (before.kind !== "absent") return "it finds an object that nobody created";
  const outcome = settled(await store.create(key, bodyOf(1), options));
  if (outcome.kind !== "created") return `it answers '${outcome.kind}' where nothing was`;
  return await differs(probe, key, bodyOf(1));
}

async function createPresent(probe: Probe): Promise<string | undefined> {
  const { store, options } = probe;
  const key = `${probe.folder}object`;
  const outcome = settled(await store.create(key, bodyOf(2), options));
  const change = await differs(probe, key, bodyOf(1));
  if (outcome.kind === "created" && change === undefined) {
    return "it reports success for a conditional write that it did not do";
  }
  if (change !== undefined) return "it ignores If-None-Match and overwrites an existing object";
  return undefined;
}

async function createRace(probe: Probe): Promise<string | undefined> {
  for (let round = 0; round < RACE_ROUNDS; round += 1) {
    const failure = await raceOnce(probe, round);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

/** One race; repeated under other keys while the store calls all racers off with a conflict. */
async function raceOnce(probe: Probe, round: number): Promise<string | undefined> {
  const { store, options } = probe;
  for (let tries = 0; tries < RACE_TRIES_MAX; tries += 1) {
    const key = `${probe.folder}race-${round}-${tries}`;
    const racers = Array.from({ length: RACERS }, (_, racer) => bodyOf(10 + racer));
    const outcomes = await Promise.all(racers.map((body) => store.create(key, body, options)));
    const winners = racers.filter((_, racer) => settled(outcomes[racer]).kind === "created");
    if (winners.length > 1) return `${winners.length} of ${RACERS} racing creates were successful`;
    const [winner] = winners;
    if (winner === undefined) continue;
    const change = await differs(probe, key, winner);
    return change === undefined ? undefined : "the object is not that of the create which won";
  }
  return "no create ever wins a race";
}

async function readRanges(probe: Probe): Promise<string | undefined> {
  const { store, options } = probe;
  const ranges = [
    { offset: 0, length: 128 },
    { offset: 1001, length: 2047 },
    { offset: BODY_BYTES - 1, length: 1 },
    { offset: BODY_BYTES - 10, length: 100 },
  ];
  for (const range of ranges) {
    const found = await store.get(`${probe.folder}object`, { ...options, range });
    const wanted = bodyOf(1).subarray(range.offset, range.offset + range.length);
    const isExact =
      found.kind === "found" &&
      found.objectBytes === BODY_BYTES &&
      Buffer.compare(found.bytes, wanted) === 0;
    if (!isExact) return "it does not return exactly the bytes of a range";
  }
  return undefined;
}

async function listAfterCreate(probe: Probe): Promise<string | undefined> {
  const { store, options } = probe;
  const keys = ["list/b", "list/a", "list/c"].map((name) => probe.folder + name);
  for (const key of keys) settled(await store.create(key, bodyOf(3), options));
  const prefix = `${probe.folder}list/`;
  const sorted = keys.toSorted();
  const { objects } = await store.list(prefix, options);
  const isComplete =
    objects.map((object) => object.key).join() === sorted.join() &&
    objects.every((object) => object.sizeBytes === BODY_BYTES);
  if (!isComplete) return "its listing lacks what was just created, or is not in order";
  let after = "";
  for (const key of sorted) {
    const page = await store.list(prefix, { ...options, after, limit: 1 });
    if (page.objects[0]?.key !== key) return "its listing does not go on where it should";
    after = key;
  }
  const rest = await store.list(prefix, { ...options, after });
  return rest.objects.length === 0 ? undefined : "its listing does not go on where it should";
}

async function checkDelete(probe: Probe): Promise<ProbeStep["outcome"]> {
  try {
    await removeAll(probe);
  } catch (error) {
    if (error instanceof WeirError && error.code === "store-denied") return "denied";
    throw error;
  }
  const after = await probe.store.get(`${probe.folder}object`, probe.options);
  const { objects } = await probe.store.list(probe.folder, probe.options);
  if (after.kind === "absent" && objects.length === 0) return "passed";
  const danger = "so the bucket could only grow, and a deletion could not be relied on";
  throw unsafe(
    probe.store,
    { name: "delete", danger },
    "it still has an object after its deletion",
  );
}

async function removeAll(probe: Probe): Promise<void> {
  const { store, folder, options } = probe;
  const { objects } = await store.list(folder, options);
  for (const object of objects) await store.delete(object.key, options);
}

/** Undefined when the object's body is `wanted`. */
async function differs(probe: Probe, key: string, wanted: Uint8Array): Promise<string | undefined> {
  const found = await probe.store.get(key, probe.options);
  if (found.kind === "absent") return "it does not find an object that was just created";
  return Buffer.compare(found.bytes, wanted) === 0 ? undefined : "it returns another body";
}

/** A lost answer says nothing about the store's rules: the probe has to be run again. */
function settled(outcome: CreateOutcome | undefined): CreateOutcome {
  if (outcome?.kind !== "ambiguous") return outcome ?? { kind: "conflict" };
  throw new WeirError("store-unavailable", "the store gave no clear answer to the backend probe", {
    cause: outcome.cause,
  });
}

function unsafe(
  store: ObjectStore,
  step: Pick<Step, "name" | "danger">,
  failure: string,
): WeirError {
  return new WeirError(
    "backend-unsafe",
    `the object store must not be used: ${failure}, ${step.danger}`,
    { details: { store: store.label, step: step.name } },
  );
}

/** Bytes that differ from seed to seed and from place to place. */
function bodyOf(seed: number): Uint8Array {
  return Uint8Array.from(
    { length: BODY_BYTES },
    (_, index) => (index * 31 + (index >>> 8) * 7 + seed * 13) & 0xff,
  );
}
