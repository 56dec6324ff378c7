// Goal: whatever a store does with requests and answers, who follows the port's rules is never
// deceived: an object is created once and never changes; after a read-back every writer knows
// whether its body is the one that stays. (This is what the log's commits rest on: I4.) Method:
// random writers, bodies and faults on the faulty store; the end state and every claim made on the
// way are checked against each other. A store that overwrites must be caught, or the test is blind.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { type StoreFault, FaultyStore } from "./faulty-store.ts";
import { MemoryStore } from "./memory-store.ts";
import type { CreateOutcome, ObjectStore } from "./object-store.ts";

/** What a writer knows for sure about its body under a key. */
type Claim = "mine" | "not-mine";

interface World {
  readonly faults: readonly StoreFault[];
  /** Each writer tries to create each of its keys once, with a body that is its own. */
  readonly writers: readonly (readonly string[])[];
  readonly seed: number;
}

const faultKinds: fc.Arbitrary<StoreFault> = fc.oneof(
  fc.constant({ kind: "fail-before" } as const),
  fc.constant({ kind: "lose-answer" } as const),
  fc.constant({ kind: "apply-twice" } as const),
  fc.constant({ kind: "hold" } as const),
  fc.constant({ kind: "conflict" } as const),
  fc.constant({ kind: "refuse", code: "store-unavailable" } as const),
  fc.record({ kind: fc.constant("delay-answer" as const), ms: fc.integer({ min: 1, max: 50 }) }),
);

const worlds: fc.Arbitrary<World> = fc.record({
  faults: fc.array(faultKinds, { maxLength: 5 }),
  writers: fc.array(fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 6 }), {
    minLength: 1,
    maxLength: 4,
  }),
  seed: fc.nat(),
});

/** Runs a world to its end; gives the first broken promise, or undefined. */
async function firstLie(
  world: World,
  inner: MemoryStore,
  clock: FakeClock,
): Promise<string | void> {
  const random = new SeededRandom(world.seed);
  const store = new FaultyStore({ inner, clock, random });
  for (const fault of world.faults) {
    const on = fault.kind === "conflict" ? "create" : "any";
    store.addRule({ on, probability: 0.3, times: 20, fault });
  }
  const claims: { key: string; body: Uint8Array; claim: Claim }[] = [];
  const writers = world.writers.map(async (keys, writer) => {
    for (const [index, key] of keys.entries()) {
      const body = Uint8Array.of(writer, index, key.charCodeAt(0));
      claims.push({ key, body, claim: await createForSure(store, key, body, clock) });
      if (random.fraction() < 0.2) await store.releaseHeld(key);
    }
  });
  await clock.runUntil(Promise.all(writers));
  await store.releaseHeld();
  for (const { key, body, claim } of claims) {
    const found = await inner.get(key);
    if (found.kind === "absent") return `${key} was created and is gone`;
    const isMine = Buffer.compare(found.bytes, body) === 0;
    if (isMine !== (claim === "mine")) return `${key}: one who was told '${claim}' was deceived`;
  }
}

/**
 * What every writer of ours does: only `created` is success, all else is settled by reading back.
 */
async function createForSure(
  store: ObjectStore,
  key: string,
  body: Uint8Array,
  clock: FakeClock,
): Promise<Claim> {
  for (;;) {
    const outcome = await tried(() => store.create(key, body));
    if (outcome?.kind === "created") return "mine";
    const found = await tried(() => store.get(key));
    if (found?.kind === "found") {
      return Buffer.compare(found.bytes, body) === 0 ? "mine" : "not-mine";
    }
    await clock.sleep(1);
  }
}

async function tried<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch {
    return undefined;
  }
}

describe("objects are created once", () => {
  test("under any faults, nobody is deceived", async () => {
    await fc.assert(
      fc.asyncProperty(worlds, async (world) => {
        const clock = new FakeClock();
        expect(await firstLie(world, new MemoryStore({ clock }), clock)).toBeUndefined();
      }),
      { numRuns: 400 },
    );
  });

  test("the same world runs the same way twice", async () => {
    const sample = fc.sample(worlds, { numRuns: 20, seed: 11 });
    for (const world of sample) {
      const runs = [];
      for (let run = 0; run < 2; run += 1) {
        const clock = new FakeClock();
        const inner = new MemoryStore({ clock });
        await firstLie(world, inner, clock);
        runs.push(`${clock.monotonicMs()} ${inner.keys().join()}`);
      }
      expect(runs[0]).toBe(runs[1]);
    }
  });

  test("a store that overwrites is caught", async () => {
    class OverwritingStore extends MemoryStore {
      override async create(key: string, body: Uint8Array): Promise<CreateOutcome> {
        this.overwrite(key, body);
        return { kind: "created" };
      }
    }
    const lies = [];
    for (const world of fc.sample(worlds, { numRuns: 100, seed: 12 })) {
      const clock = new FakeClock();
      lies.push(await firstLie(world, new OverwritingStore({ clock }), clock));
    }
    expect(lies.filter((lie) => lie !== undefined).length).toBeGreaterThan(20);
  });
});
