// Goal: whatever calls come to the driver, repeated, at once, cancelled, in any order, with a
// machine and an engine that fail in between and node services that are killed: an answer that says
// success is true, no call fails with a code that says "our bug", no filesystem is formatted away,
// and when everything was undone nothing is left: no device, no mount, no target, no object, no key
// in the bucket. Method: random batches of calls on the real controller and node services over the
// fakes of their ports; the model is what a successful answer promises.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  ControllerExpandVolumeRequest,
  ControllerPublishVolumeRequest,
  ControllerUnpublishVolumeRequest,
  DeleteSnapshotRequest,
  DeleteVolumeRequest,
  NodeExpandVolumeRequest,
  NodePublishVolumeRequest,
  NodeStageVolumeRequest,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { SNAPSHOT } from "../../crds/snapshot.ts";
import { VOLUME } from "../../crds/volume.ts";
import type { FakeDisk } from "../../csi-node/csi/fake-mounter.ts";
import { createVolume } from "../../operator/csi/create-volume.ts";
import { deleteVolume } from "../../operator/csi/delete-volume.ts";
import { expandVolume } from "../../operator/csi/expand-volume.ts";
import { publishVolume, unpublishVolume } from "../../operator/csi/publish-volume.ts";
import { createSnapshot, deleteSnapshot } from "../../operator/csi/snapshots.ts";
import { capabilityOf, CsiNode, Faults } from "../support/csi-world.ts";
import {
  createRequest,
  MIB,
  mountCapability,
  OperatorWorld,
  snapshotRequest,
} from "../support/operator-world.ts";

/** The last one is a raw block device. */
const VOLUMES = ["a", "b"] as const;
const NODES = ["n1", "n2"] as const;
const PODS = ["p", "q"] as const;
const SNAPSHOT_NAME = "s";
/** Of the last deletions: they need each other, and a node has its grace. */
const PATIENCE_MS = 60 * 60_000;
const CLEANING_TRIES = 20;

const ACTS = [
  ...["create", "delete", "attach", "detach", "enlarge", "snapshot", "drop"],
  ...["stage", "unstage", "publish", "unpublish", "grow", "restart"],
] as const;

type Act = (typeof ACTS)[number];

interface Step {
  readonly act: Act;
  readonly volume: (typeof VOLUMES)[number];
  readonly node: (typeof NODES)[number];
  readonly pod: (typeof PODS)[number];
  readonly sizeMiB: number;
}

interface Command extends Omit<Step, "act"> {
  /** One after the other, as long as they succeed. */
  readonly acts: readonly Act[];
  /** After the begin of its batch: so calls meet the work of earlier ones half done. */
  readonly afterMs: number;
  /** The caller goes away then. */
  readonly cancelAfterMs: number | undefined;
  /** As often at once. */
  readonly times: number;
}

interface Story {
  readonly batches: readonly (readonly Command[])[];
  readonly faultRate: number;
  readonly seed: number;
}

/** Most go the way of a pod's volume, so that what comes at odd times has something to work on. */
const acts: fc.Arbitrary<readonly Act[]> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(["attach", "stage", "publish"] as const) },
  { weight: 2, arbitrary: fc.constant(["unpublish", "unstage", "detach"] as const) },
  { weight: 1, arbitrary: fc.constant(["unpublish", "unstage", "detach", "delete"] as const) },
  { weight: 1, arbitrary: fc.constant(["create", "attach", "stage"] as const) },
  { weight: 1, arbitrary: fc.constant(["enlarge", "grow"] as const) },
  { weight: 6, arbitrary: fc.constantFrom(...ACTS).map((act) => [act]) },
);

const command: fc.Arbitrary<Command> = fc.record({
  acts,
  volume: fc.constantFrom(...VOLUMES),
  // Mostly one node, or hardly anything would be at the right one.
  node: fc.constantFrom("n1", "n1", "n1", "n2"),
  pod: fc.constantFrom(...PODS),
  sizeMiB: fc.constantFrom(16, 32, 48),
  afterMs: fc.constantFrom(0, 0, 40, 150, 400),
  cancelAfterMs: fc.constantFrom(undefined, undefined, undefined, 0, 30, 200),
  times: fc.constantFrom(1, 1, 1, 2, 3),
});

const stories: fc.Arbitrary<Story> = fc.record({
  batches: fc.array(fc.array(command, { minLength: 1, maxLength: 3 }), {
    minLength: 4,
    maxLength: 20,
  }),
  faultRate: fc.constantFrom(0, 0, 0.02, 0.08),
  seed: fc.nat(),
});

/** What a caller may be told; `internal` and the like would be our bug. */
const HONEST = new Set([
  ...["aborted", "deadline-exceeded", "not-found", "name-taken", "in-use", "out-of-range"],
  // Of what was planted.
  ...["transport-unavailable", "engine-unavailable"],
]);

const kindOf = (volume: string) => (volume === "b" ? "block" : "filesystem");
const stagingOf = (volume: string) => `/kubelet/staging/${volume}/globalmount`;
const targetOf = (volume: string, pod: string) => `/kubelet/pods/${pod}/${volume}`;

class Driver implements AsyncDisposable {
  readonly world: OperatorWorld;
  readonly nodes = new Map<string, CsiNode>();
  readonly faults: Faults;
  readonly #disks = new Map<string, FakeDisk>();

  private constructor(world: OperatorWorld, rate: number) {
    this.world = world;
    this.faults = new Faults({ world, rate });
    const { nodes, faults } = this;
    for (const name of NODES) {
      nodes.set(name, new CsiNode({ name, world, nodes, disks: this.#disks, faults }));
    }
  }

  static async started({ seed, faultRate }: Story): Promise<Driver> {
    const world = await OperatorWorld.started({ seed, nodes: NODES, isQuiet: true });
    return new Driver(world, faultRate);
  }

  node(name: string): CsiNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`there is no node ${name}`);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }

  /** "skipped": kubelet stages only what is attached to its node. */
  async perform(step: Step, signal: AbortSignal): Promise<unknown> {
    const { act, volume: volumeId, node: nodeId, pod, sizeMiB } = step;
    const { parts } = this.world;
    const call = { signal };
    const node = this.node(nodeId);
    const volumeCapability = capabilityOf(kindOf(volumeId));
    const stagingTargetPath = stagingOf(volumeId);
    const targetPath = targetOf(volumeId, pod);
    const range = { requiredBytes: BigInt(sizeMiB * MIB), limitBytes: 0n };
    switch (act) {
      case "create":
        return createVolume(parts, createRequest(volumeId, { capacityRange: range }), call);
      case "delete":
        return deleteVolume(parts, DeleteVolumeRequest.fromPartial({ volumeId }), call);
      case "attach": {
        const request = ControllerPublishVolumeRequest.fromPartial({ volumeId, nodeId });
        return publishVolume(parts, { ...request, volumeCapability: mountCapability() }, call);
      }
      case "detach": {
        const request = ControllerUnpublishVolumeRequest.fromPartial({ volumeId, nodeId });
        return unpublishVolume(parts, request, call);
      }
      case "enlarge": {
        const request = ControllerExpandVolumeRequest.fromPartial({ volumeId });
        return expandVolume(parts, { ...request, capacityRange: range }, call);
      }
      case "snapshot":
        return createSnapshot(parts, snapshotRequest(SNAPSHOT_NAME, volumeId), call);
      case "drop": {
        const request = DeleteSnapshotRequest.fromPartial({ snapshotId: SNAPSHOT_NAME });
        return deleteSnapshot(parts, request, call);
      }
      case "stage": {
        const found = await this.world.volume(volumeId);
        if (found?.status?.node !== nodeId) return "skipped";
        const request = NodeStageVolumeRequest.fromPartial({ volumeId, stagingTargetPath });
        return node.call("nodeStageVolume", { ...request, volumeCapability }, signal);
      }
      case "unstage":
        return node.call("nodeUnstageVolume", { volumeId, stagingTargetPath }, signal);
      case "publish": {
        const where = { volumeId, stagingTargetPath, targetPath };
        const request = NodePublishVolumeRequest.fromPartial(where);
        return node.call("nodePublishVolume", { ...request, volumeCapability }, signal);
      }
      case "unpublish":
        return node.call("nodeUnpublishVolume", { volumeId, targetPath }, signal);
      case "grow": {
        const request = NodeExpandVolumeRequest.fromPartial({ volumeId, volumePath: targetPath });
        const wanted = { ...request, capacityRange: range, volumeCapability };
        return node.call("nodeExpandVolume", wanted, signal);
      }
      case "restart":
        return node.restart();
      default:
        throw new Error(`unknown command ${JSON.stringify(act satisfies never)}`);
    }
  }

  /** Why the step's success is no success; undefined when it is one. */
  async lieOf(step: Step): Promise<string | undefined> {
    const { act, volume, node: nodeId, pod } = step;
    const node = this.node(nodeId);
    const table = await node.mounter.mounts();
    const at = (path: string) => table.filter(({ mountPoint }) => mountPoint === path).length;
    const hasDevice = (await node.attached()).includes(volume);
    const found = await this.world.volume(volume);
    const isThere = found !== undefined && found.metadata.deletionTimestamp === undefined;
    const staged = kindOf(volume) === "block" ? 0 : 1;
    const target = targetOf(volume, pod);
    const held = {
      create: isThere,
      delete: !isThere,
      attach: found?.status?.node === nodeId,
      detach: found?.status?.node !== nodeId,
      enlarge: isThere,
      snapshot: true,
      drop: true,
      stage: hasDevice && at(stagingOf(volume)) === staged,
      unstage: !hasDevice && at(stagingOf(volume)) === 0,
      publish: hasDevice && at(target) === 1,
      unpublish: at(target) === 0 && (await node.mounter.kindOf(target)) === "absent",
      grow: hasDevice,
      restart: true,
    } satisfies Record<Act, boolean>;
    return held[act] ? undefined : `${act} of ${volume} at ${nodeId} succeeded, but is not done`;
  }

  /** A refused unstage left the volume staged, or pods lose what kubelet checks. */
  async halfPublished(): Promise<string | undefined> {
    for (const { name, mounter } of this.nodes.values()) {
      const table = await mounter.mounts();
      const isMounted = (path: string) => table.some(({ mountPoint }) => mountPoint === path);
      const isHalf = PODS.some((pod) => isMounted(targetOf("a", pod)));
      if (isHalf && !isMounted(stagingOf("a"))) return `published on ${name}, but not staged`;
    }
    return undefined;
  }

  /** A filesystem that was there is never made anew. */
  formattedAway(): string | undefined {
    const formats = [...this.nodes.values()].flatMap(({ mounter }) => mounter.formattedAway);
    return formats.length === 0 ? undefined : `formatted away: ${formats.join()}`;
  }
}

/** Whether no other command of the batch touches the same volume, or ends the node service. */
function isAlone(command: Command, batch: readonly Command[]): boolean {
  return batch.every(
    (other) =>
      other === command ||
      (other.volume !== command.volume && ![...other.acts, ...command.acts].includes("restart")),
  );
}

async function runBatch(driver: Driver, batch: readonly Command[]): Promise<string | undefined> {
  const { world, faults } = driver;
  faults.isOn = true;
  const calls = batch.flatMap((command) =>
    Array.from({ length: command.times }, () => runCommand(driver, command)),
  );
  const results = await world.run(Promise.allSettled(calls));
  faults.isOn = false;
  for (const result of results) {
    if (result.status === "rejected") {
      const fault: unknown = result.reason;
      if (fault instanceof WeirError && HONEST.has(fault.code)) continue;
      return `a call failed with ${describe(fault)}`;
    }
    const { command, done } = result.value;
    for (const act of isAlone(command, batch) ? done : []) {
      const lie = await driver.lieOf({ ...command, act });
      if (lie !== undefined) return lie;
    }
  }
  return driver.formattedAway() ?? world.clashes[0];
}

/** Resolves to what was done: none of it undoes what came before. */
async function runCommand(driver: Driver, command: Command) {
  const { clock } = driver.world;
  const { afterMs, cancelAfterMs } = command;
  await clock.sleep(afterMs);
  const cancelling = new AbortController();
  if (cancelAfterMs !== undefined) {
    const gone = new WeirError("aborted", "the caller of this RPC went away");
    void clock.sleep(cancelAfterMs).then(() => cancelling.abort(gone));
  }
  const done: Act[] = [];
  for (const act of command.acts) {
    if ((await driver.perform({ ...command, act }, cancelling.signal)) === "skipped") break;
    done.push(act);
  }
  return { command, done };
}

/** What kubelet and the sidecars do at the end of pods, as often as it takes. */
function putAway(driver: Driver): Promise<string | undefined> {
  const undo: readonly Pick<Step, "act" | "pod">[] = [
    { act: "unpublish", pod: "p" },
    { act: "unpublish", pod: "q" },
    { act: "unstage", pod: "p" },
    { act: "detach", pod: "p" },
  ];
  const steps = VOLUMES.flatMap((volume) =>
    NODES.flatMap((node) => undo.map((step) => ({ ...FIRST, ...step, volume, node }))),
  );
  return allDone(driver, steps);
}

/** Whatever happened to a volume: it can be used, on the node where less happened, too. */
async function useAgain(driver: Driver): Promise<string | undefined> {
  for (const volume of VOLUMES) {
    const found = await driver.world.volume(volume);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) continue;
    const acts: readonly Act[] = ["attach", "stage", "publish"];
    const steps = acts.map((act) => ({ ...FIRST, node: "n2", volume, act }) as const);
    const fault = await allDone(driver, steps);
    if (fault !== undefined) return fault;
    for (const step of steps) {
      const lie = await driver.lieOf(step);
      if (lie !== undefined) return lie;
    }
  }
  return undefined;
}

async function deleteAll(driver: Driver): Promise<string | undefined> {
  const steps = [
    ...VOLUMES.map((volume) => ({ ...FIRST, act: "delete", volume }) as const),
    { ...FIRST, act: "drop", volume: "a" } as const,
  ];
  // Once more for those that were deleted already.
  const fault = await allDone(driver, [...steps, ...steps]);
  await driver.world.clock.advance(PATIENCE_MS);
  return fault;
}

const FIRST = { node: "n1", pod: "p", sizeMiB: 16 } as const;

async function allDone(driver: Driver, steps: readonly Step[]): Promise<string | undefined> {
  for (const step of steps) {
    const fault = await untilDone(driver, step);
    if (fault !== undefined) return `${step.act} of ${step.volume} never ends: ${fault}`;
  }
  return undefined;
}

async function untilDone(driver: Driver, step: Step): Promise<string | undefined> {
  let fault = "";
  for (let tries = 0; tries < CLEANING_TRIES; tries += 1) {
    try {
      await driver.world.run(driver.perform(step, driver.world.call.signal));
      return undefined;
    } catch (cause) {
      fault = describe(cause);
    }
    await driver.world.clock.advance(10_000);
  }
  return fault;
}

async function leftovers(driver: Driver): Promise<string | undefined> {
  const { world } = driver;
  const left: string[] = [...world.keys()];
  const { items: volumes } = await world.kube.list(VOLUME, {}, world.call);
  const { items: snapshots } = await world.kube.list(SNAPSHOT, {}, world.call);
  left.push(...[...volumes, ...snapshots].map((object) => JSON.stringify(object)));
  for (const node of driver.nodes.values()) {
    left.push(...(await node.attached()).map((name) => `the device of ${name}`));
    left.push(...(await node.mounter.mounts()).map((mount) => JSON.stringify(mount)));
    left.push(...node.mounter.paths().filter((path) => /pods/u.test(path)));
  }
  if (world.parts.inFlight.size > 0) left.push("calls in flight");
  return left.length === 0 ? undefined : `left behind: ${left.join("\n")}`;
}

function describe(fault: unknown): string {
  return fault instanceof WeirError ? `${fault.code}: ${fault.message}` : String(fault);
}

/** Of the whole story; undefined when all is well. */
async function firstLie(story: Story): Promise<string | undefined> {
  await using driver = await Driver.started(story);
  const { world } = driver;
  for (const volume of VOLUMES) {
    await world.run(driver.perform({ ...FIRST, act: "create", volume }, world.call.signal));
  }
  for (const batch of story.batches) {
    const lie = await runBatch(driver, batch);
    if (lie !== undefined) return lie;
  }
  // What goes on without its caller ends by itself.
  await world.clock.advance(60_000);
  return (
    (await driver.halfPublished()) ??
    (await putAway(driver)) ??
    (await useAgain(driver)) ??
    (await putAway(driver)) ??
    (await deleteAll(driver)) ??
    driver.formattedAway() ??
    (await leftovers(driver))
  );
}

test("no answer lies, nothing is left, whatever the order", async () => {
  await fc.assert(
    fc.asyncProperty(stories, async (story) => {
      expect(await firstLie(story)).toBeUndefined();
    }),
    { numRuns: 60, endOnFailure: true },
  );
}, 240_000);
