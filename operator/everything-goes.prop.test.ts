// Goal: whatever calls come, repeated, at once, out of order and with a store and an API server
// that fail now and then: a successful answer is true, no call fails with a code that says "our
// bug", a volume is never at two nodes, and when everything was deleted nothing is left, neither
// objects nor keys in the bucket. Method: random batches of concurrent calls on the operator in one
// process; after each batch the objects are compared with what the answers promised.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  ControllerPublishVolumeRequest,
  ControllerUnpublishVolumeRequest,
  DeleteSnapshotRequest,
  DeleteVolumeRequest,
} from "../core/csi/generated/csi.ts";
import { WeirError } from "../core/runtime/errors.ts";
import { SeededRandom } from "../core/runtime/seeded-random.ts";
import { FaultyStore } from "../core/store/faulty-store.ts";
import { SNAPSHOT } from "../crds/snapshot.ts";
import { VOLUME } from "../crds/volume.ts";
import {
  createRequest,
  MIB,
  mountCapability,
  OperatorWorld,
  snapshotRequest,
} from "../test/support/operator-world.ts";
import { createVolume } from "./csi/create-volume.ts";
import { deleteVolume } from "./csi/delete-volume.ts";
import { publishVolume, unpublishVolume } from "./csi/publish-volume.ts";
import { createSnapshot, deleteSnapshot } from "./csi/snapshots.ts";

const VOLUMES = ["a", "b", "c"];
const SNAPSHOTS = ["s", "t"];
const NODES = ["n1", "n2"];

type Command =
  | {
      readonly kind: "create";
      readonly volume: string;
      readonly from: Source;
      readonly size: number;
    }
  | { readonly kind: "delete"; readonly volume: string }
  | { readonly kind: "publish"; readonly volume: string; readonly node: string }
  | { readonly kind: "unpublish"; readonly volume: string; readonly node: string }
  | { readonly kind: "snapshot"; readonly snapshot: string; readonly volume: string }
  | { readonly kind: "drop"; readonly snapshot: string }
  /** By a person, with kubectl. */
  | { readonly kind: "erase"; readonly volume: string }
  | { readonly kind: "erase-snapshot"; readonly snapshot: string };

type Source = { readonly snapshot: string } | { readonly volume: string } | undefined;

const volume = fc.constantFrom(...VOLUMES);
const snapshot = fc.constantFrom(...SNAPSHOTS);
const node = fc.constantFrom(...NODES);
const source: fc.Arbitrary<Source> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.record({ snapshot }) },
  { weight: 1, arbitrary: fc.record({ volume }) },
);

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("create" as const),
      volume,
      from: source,
      size: fc.constantFrom(16, 32),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), volume }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("publish" as const), volume, node }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("unpublish" as const),
      volume,
      node: fc.constantFrom(...NODES, ""),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("snapshot" as const), snapshot, volume }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("drop" as const), snapshot }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("erase" as const), volume }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("erase-snapshot" as const), snapshot }),
  },
);

/** Milliseconds after the begin of its batch: so calls meet the work of earlier ones half done. */
type Timed = { readonly command: Command; readonly afterMs: number };

interface Story {
  readonly batches: readonly (readonly Timed[])[];
  readonly faultRate: number;
  /** Between batches, milliseconds. */
  readonly pauses: readonly number[];
  readonly seed: number;
}

const timed = fc.record({ command, afterMs: fc.constantFrom(0, 0, 30, 120, 250) });

const stories: fc.Arbitrary<Story> = fc.record({
  batches: fc.array(fc.array(timed, { minLength: 1, maxLength: 5 }), {
    minLength: 3,
    maxLength: 10,
  }),
  faultRate: fc.constantFrom(0, 0.02, 0.1),
  pauses: fc.array(fc.constantFrom(0, 100, 10_000), { minLength: 10, maxLength: 10 }),
  seed: fc.nat(),
});

/** What a caller may be told; `internal` and the like would be our bug. */
const HONEST = new Set([
  ...["aborted", "deadline-exceeded", "kube-unavailable", "store-unavailable"],
  ...["not-found", "name-taken", "in-use", "out-of-range"],
]);

function perform(world: OperatorWorld, command: Command): Promise<unknown> {
  const { parts, call } = world;
  switch (command.kind) {
    case "create": {
      const { from, size } = command;
      const content =
        from === undefined
          ? undefined
          : "snapshot" in from
            ? ({ $case: "snapshot", value: { snapshotId: from.snapshot } } as const)
            : ({ $case: "volume", value: { volumeId: from.volume } } as const);
      const request = createRequest(command.volume, {
        capacityRange: { requiredBytes: BigInt(size * MIB), limitBytes: 0n },
        volumeContentSource: content === undefined ? undefined : { type: content },
      });
      return createVolume(parts, request, call);
    }
    case "delete": {
      const request = DeleteVolumeRequest.fromPartial({ volumeId: command.volume });
      return deleteVolume(parts, request, call);
    }
    case "publish": {
      const { volume: volumeId, node: nodeId } = command;
      const request = ControllerPublishVolumeRequest.fromPartial({ volumeId, nodeId });
      return publishVolume(parts, { ...request, volumeCapability: mountCapability() }, call);
    }
    case "unpublish": {
      const { volume: volumeId, node: nodeId } = command;
      const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId, nodeId });
      return unpublishVolume(parts, request, call);
    }
    case "snapshot":
      return createSnapshot(parts, snapshotRequest(command.snapshot, command.volume), call);
    case "drop": {
      const request = DeleteSnapshotRequest.fromPartial({ snapshotId: command.snapshot });
      return deleteSnapshot(parts, request, call);
    }
    case "erase":
      return world.kube.delete(VOLUME, { name: command.volume }, call);
    case "erase-snapshot":
      return world.kube.delete(SNAPSHOT, { name: command.snapshot }, call);
    default:
      throw new Error(`unknown command ${JSON.stringify(command satisfies never)}`);
  }
}

/** Whether the batch holds no other command that could undo this one. */
function isAlone(command: Command, batch: readonly Command[]): boolean {
  return batch.every(
    (other) =>
      other === command ||
      !("volume" in other) ||
      !("volume" in command) ||
      other.volume !== command.volume,
  );
}

/** The first promise of an answer that is not kept. */
async function brokenPromise(
  world: OperatorWorld,
  batch: readonly Command[],
  results: readonly PromiseSettledResult<unknown>[],
): Promise<string | undefined> {
  for (const [index, result] of results.entries()) {
    const command = batch[index];
    if (command === undefined) continue;
    const text = JSON.stringify(command);
    if (result.status === "rejected") {
      const fault: unknown = result.reason;
      if (fault instanceof WeirError && HONEST.has(fault.code)) continue;
      return `${text} failed with ${String(fault)}`;
    }
    if (!("volume" in command) || command.kind === "snapshot" || !isAlone(command, batch)) continue;
    const found = await world.kube.get(VOLUME, { name: command.volume }, world.call);
    const attached = found?.status?.node ?? "";
    const isThere = found !== undefined && found.metadata.deletionTimestamp === undefined;
    if (command.kind === "create" && !isThere) return `${text} answered, but it is not there`;
    if (command.kind === "delete" && isThere) return `${text} answered, but it is there`;
    if (command.kind === "publish" && attached !== command.node) {
      return `${text} answered, but it is attached to "${attached}"`;
    }
    if (command.kind === "unpublish" && attached === command.node && attached !== "") {
      return `${text} answered, but it is still attached`;
    }
  }
  return world.clashes[0];
}

/** The end of a cluster: everything is detached and deleted. */
async function deleteAll(world: OperatorWorld): Promise<void> {
  for (const name of VOLUMES) {
    await world.run(perform(world, { kind: "unpublish", volume: name, node: "" }));
    await world.run(perform(world, { kind: "delete", volume: name }));
  }
  for (const name of SNAPSHOTS) {
    await world.run(perform(world, { kind: "drop", snapshot: name }));
  }
  // Deletions that need each other follow with growing delays; a node has its grace.
  await world.clock.advance(60 * 60_000);
}

async function firstLie(story: Story): Promise<string | undefined> {
  const random = new SeededRandom(story.seed);
  let isFaulty = false;
  const world = await OperatorWorld.started({
    seed: story.seed,
    nodes: NODES,
    isQuiet: true,
    onCall: ({ verb }) => {
      if (!isFaulty || verb === "watch" || random.fraction() >= story.faultRate) return;
      throw new WeirError("kube-unavailable", "planted");
    },
    storeOver: (bucket) => faulty(bucket),
  });
  function faulty(inner: OperatorWorld["bucket"]): FaultyStore {
    const clock = { ...noClock, sleep: () => Promise.resolve() };
    const store = new FaultyStore({ inner, clock, random: random.fork() });
    const fault = { kind: "refuse", code: "store-unavailable" } as const;
    store.addRule({ on: "any", key: "volumes/*", probability: story.faultRate, fault });
    const lost = { kind: "lose-answer" } as const;
    store.addRule({ on: "create", key: "*s/*", probability: story.faultRate, fault: lost });
    return store;
  }
  try {
    for (const name of VOLUMES.slice(1)) {
      await world.run(perform(world, { kind: "create", volume: name, from: undefined, size: 16 }));
    }
    for (const [index, batch] of story.batches.entries()) {
      isFaulty = true;
      const calls = batch.map(async ({ command, afterMs }) => {
        await world.clock.sleep(afterMs);
        return perform(world, command);
      });
      const results = await world.run(Promise.allSettled(calls));
      isFaulty = false;
      const commands = batch.map(({ command }) => command);
      const lie = await brokenPromise(world, commands, results);
      if (lie !== undefined) return lie;
      await world.clock.advance(story.pauses[index] ?? 0);
    }
    await deleteAll(world);
    return world.clashes[0] ?? (await leftovers(world));
  } finally {
    await world[Symbol.asyncDispose]();
  }
}

async function leftovers(world: OperatorWorld): Promise<string | undefined> {
  const { items: volumes } = await world.kube.list(VOLUME, {}, world.call);
  const { items: snapshots } = await world.kube.list(SNAPSHOT, {}, world.call);
  const objects = [...volumes, ...snapshots].map((object) => JSON.stringify(object));
  const left = [...objects, ...world.keys()];
  if (world.parts.inFlight.size > 0) left.push("calls in flight");
  return left.length === 0 ? undefined : `left behind: ${left.join("\n")}`;
}

const noClock = {
  wallMs: () => 0,
  monotonicMs: () => 0,
  deadline: () => {
    throw new Error("not needed here");
  },
};

test("nothing is lost, nothing is left, no answer lies", async () => {
  await fc.assert(
    fc.asyncProperty(stories, async (story) => {
      expect(await firstLie(story)).toBeUndefined();
    }),
    { numRuns: 25, endOnFailure: true },
  );
}, 120_000);
