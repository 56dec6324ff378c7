// Goal: a node's snapshots are taken and its volumes' states reported: on change, not more often
// than needed, without overwriting a later node, and again after the API server was away. Method:
// the fake API server and the fake engine on a fake clock.
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { WeirError } from "../../core/runtime/errors.ts";
import { asVolumeUid } from "../../core/runtime/ids.ts";
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { FakeKube, type FakeCall } from "../../core/kube/fake-kube.ts";
import { PERSISTENT_VOLUME_CLAIM } from "../../core/kube/kinds.ts";
import { findCondition } from "../../crds/conditions.ts";
import { SNAPSHOT } from "../../crds/snapshot.ts";
import { VOLUME } from "../../crds/volume.ts";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { FakeEngine } from "../control/fake-engine.ts";
import { volumePolicySchema } from "../engine/config.ts";
import { runSnapshotAgent, type AgentParts } from "./snapshot-agent.ts";
import { VolumeAgent } from "./volume-agent.ts";

const GIB = 1024 ** 3;

let clock: FakeClock;
let engine: FakeEngine;
let kube: FakeKube;
let parts: AgentParts;
let stop: AbortController;
let running: Promise<void>;
let onCall: (call: FakeCall) => void;

beforeEach(() => {
  clock = new FakeClock();
  const random = new SeededRandom(1);
  onCall = () => undefined;
  kube = new FakeKube({ clock, random, onCall: (call) => onCall(call) });
  engine = new FakeEngine();
  engine.create("data", GIB);
  const log = pino({}, captureLogs());
  parts = { api: kube, engine, nodeName: "n1", clock, random, log };
  stop = new AbortController();
  running = Promise.resolve();
});

afterEach(async () => {
  stop.abort();
  await clock.runUntil(running);
});

const signal = new AbortController().signal;
const applies = () => kube.calls.filter(({ verb }) => verb === "apply").length;

describe("snapshots", () => {
  const seed = (status: object) =>
    kube.seed(SNAPSHOT, {
      metadata: { name: "monday", uid: "01234567-89ab-cdef-0123-456789abcdef" },
      spec: { volume: "data", deletionPolicy: "Delete" },
      status,
    });

  const look = async () => (await kube.get(SNAPSHOT, { name: "monday" }, { signal }))?.status;

  function start(): void {
    running = runSnapshotAgent(parts, stop.signal);
  }

  test("assigned to this node are taken once and reported", async () => {
    seed({ node: "n1" });
    start();
    await clock.advance(1_000);
    const status = await look();
    expect(status).toMatchObject({
      node: "n1",
      uid: "0123456789abcdef0123456789abcdef",
      position: { epoch: 0, seq: 1 },
      size: "1Gi",
      createdAt: "2030-03-17T17:46:40Z",
    });
    expect(findCondition(status?.conditions, "Taken")?.status).toBe("True");
    await clock.advance(60_000);
    expect(engine.callsOf("snapshot")).toBe(1);
  });

  test("of other nodes, and those that are being deleted, are left alone", async () => {
    seed({ node: "n2" });
    start();
    await clock.advance(1_000);
    expect(engine.callsOf("snapshot")).toBe(0);
  });

  test("that fail say why and are tried again", async () => {
    expectLog(/a snapshot could not be taken/u);
    engine.fail("snapshot", new WeirError("store-unavailable", "the store does not answer"));
    seed({ node: "n1" });
    start();
    await clock.advance(1_000);
    expect(findCondition((await look())?.conditions, "Taken")).toMatchObject({
      status: "False",
      reason: "StoreUnavailable",
      message: "the store does not answer",
    });
    engine.fail("snapshot", undefined);
    await clock.advance(60_000);
    expect(findCondition((await look())?.conditions, "Taken")?.status).toBe("True");
  });
});

describe("volumes", () => {
  let agent: VolumeAgent;

  const seed = (node: string, labels: Record<string, string> = {}, status: object = {}) =>
    kube.seed(VOLUME, {
      metadata: { name: "data", labels },
      spec: { size: "1Gi", durability: "local", deletionPolicy: "Delete" },
      status: { node, ...status },
    });

  const look = async () => (await kube.get(VOLUME, { name: "data" }, { signal }))?.status;

  async function condition(type: string) {
    return findCondition((await look())?.conditions, type);
  }

  async function start(): Promise<void> {
    await engine.attach(
      { name: "data", transport: { kind: "ublk" }, policy: volumePolicySchema.parse({}) },
      { signal },
    );
    agent = new VolumeAgent(parts);
    running = agent.run(stop.signal);
    await clock.settle();
  }

  test("are reported with what is at risk", async () => {
    seed("n1");
    engine.show("data", { dirtyBytes: 8192, dirtyAgeMs: 2_000, committedSeq: 7 });
    await start();
    expect(await look()).toMatchObject({
      node: "n1",
      size: "1Gi",
      position: { epoch: 1, seq: 7 },
      dirtyBytes: 8192,
      atRiskSince: "2029-12-31T23:59:58Z",
    });
    expect(await condition("Healthy")).toMatchObject({ status: "True" });
    expect(await condition("Stable")).toMatchObject({ status: "False", reason: "Dirty" });
  });

  test("that do not change are not written again, numbers at most every 30 s", async () => {
    seed("n1");
    await start();
    await clock.advance(120_000);
    expect(applies()).toBe(1);
    for (let second = 0; second < 60; second += 5) {
      engine.show("data", { committedSeq: second });
      await clock.advance(5_000);
    }
    expect(applies()).toBe(3);
  });

  test("that fail are told at once, on the claim as well", async () => {
    kube.seed(PERSISTENT_VOLUME_CLAIM, {
      metadata: { name: "claim", namespace: "app" },
      spec: {},
    });
    seed("n1", { "weir.storage/pvc-name": "claim", "weir.storage/pvc-namespace": "app" });
    await start();
    engine.show("data", { fault: { code: "fenced", message: "another node took over" } });
    await clock.advance(5_000);
    expect(await condition("Healthy")).toMatchObject({ status: "False", reason: "Fenced" });
    await clock.advance(60_000);
    const told = kube.events.filter(({ reason }) => reason === "Fenced");
    expect(told.map(({ regarding }) => regarding.kind).toSorted()).toStrictEqual([
      "PersistentVolumeClaim",
      "Volume",
    ]);
  });

  test("whose uploads are held up name the reason", async () => {
    seed("n1");
    const trouble = { code: "store-unavailable", message: "the store does not answer" };
    engine.show("data", { dirtyBytes: 4096, dirtyAgeMs: 90_000, trouble });
    await start();
    expect(await condition("Stable")).toMatchObject({ reason: "StoreUnavailable" });
  });

  test("that were detached are stable, told at once when poked", async () => {
    seed("n1");
    engine.show("data", { dirtyBytes: 8192, dirtyAgeMs: 1, committedSeq: 7 });
    await start();
    await engine.detach({ name: "data", force: false }, { signal });
    agent.onStage("data", undefined);
    await clock.settle();
    const status = await look();
    expect(status).toMatchObject({ dirtyBytes: 0, size: "1Gi", position: { epoch: 1, seq: 7 } });
    expect(status?.atRiskSince).toBeUndefined();
    expect(await condition("Stable")).toMatchObject({ status: "True" });
  });

  test("that become dirty are told at the next look, that they are stable in 30 s", async () => {
    seed("n1");
    await start();
    await clock.advance(10_000);
    engine.show("data", { dirtyBytes: 4096, dirtyAgeMs: 1 });
    await clock.advance(5_000);
    expect(await look()).toMatchObject({ dirtyBytes: 4096 });
    engine.show("data", { dirtyBytes: 0, dirtyAgeMs: 0 });
    await clock.advance(20_000);
    expect(await look()).toMatchObject({ dirtyBytes: 4096 });
    await clock.advance(10_000);
    expect(await look()).toMatchObject({ dirtyBytes: 0 });
    expect(applies()).toBe(3);
  });

  test("with data on a lost node are never called stable", async () => {
    seed("n1", {}, { stranded: [{ node: "n0", bytes: 4096, since: "2029-12-31T23:59:58Z" }] });
    await start();
    const stranded = { status: "False", reason: "StrandedOnNode" };
    expect(await condition("Stable")).toMatchObject(stranded);
    engine.show("data", { dirtyBytes: 4096, dirtyAgeMs: 1 });
    await clock.advance(30_000);
    expect(await condition("Stable")).toMatchObject({ reason: "Dirty" });
    await engine.detach({ name: "data", force: false }, { signal });
    agent.onStage("data", undefined);
    await clock.settle();
    expect(await condition("Stable")).toMatchObject(stranded);
  });

  test("that cannot be staged say why until they can be, on the claim as well", async () => {
    kube.seed(PERSISTENT_VOLUME_CLAIM, {
      metadata: { name: "claim", namespace: "app" },
      spec: {},
    });
    seed("n1", { "weir.storage/pvc-name": "claim", "weir.storage/pvc-namespace": "app" });
    agent = new VolumeAgent(parts);
    running = agent.run(stop.signal);
    const fault = new WeirError("transport-unavailable", "load the ublk_drv kernel module");
    agent.onStage("data", new WeirError("engine-unavailable", "the engine starts"));
    await clock.advance(5_000);
    expect(await condition("Healthy")).toBeUndefined();
    agent.onStage("data", fault);
    await clock.advance(5_000);
    const { message } = fault;
    const expected = { status: "False", reason: "TransportUnavailable", message };
    expect(await condition("Healthy")).toMatchObject(expected);
    await clock.advance(60_000);
    const told = kube.events.filter(({ reason }) => reason === "TransportUnavailable");
    expect(told.map(({ regarding }) => regarding.kind).toSorted()).toStrictEqual([
      "PersistentVolumeClaim",
      "Volume",
    ]);
    await engine.attach(
      { name: "data", transport: { kind: "ublk" }, policy: volumePolicySchema.parse({}) },
      { signal },
    );
    agent.onStage("data", undefined);
    await clock.settle();
    expect(await condition("Healthy")).toMatchObject({ status: "True" });
  });

  test("that another node took over while this one was away are told once", async () => {
    seed("n2");
    agent = new VolumeAgent(parts);
    running = agent.run(stop.signal);
    const fault = { code: "fenced", message: "another node has the volume" };
    engine.setWaiting([{ name: "data", uid: asVolumeUid("0".repeat(32)), fault }]);
    await clock.advance(120_000);
    expect(applies()).toBe(0);
    expect(kube.events.filter(({ reason }) => reason === "Fenced")).toMatchObject([
      { regarding: { kind: "Volume" }, note: "another node has the volume (node n1)" },
    ]);
    engine.setWaiting([]);
    seed("n1");
    await engine.attach(
      { name: "data", transport: { kind: "ublk" }, policy: volumePolicySchema.parse({}) },
      { signal },
    );
    agent.onStage("data", undefined);
    await clock.settle();
    expect(await condition("Healthy")).toMatchObject({ status: "True" });
  });

  test("of another node are not overwritten", async () => {
    seed("n2");
    await start();
    await clock.advance(60_000);
    expect(applies()).toBe(0);
  });

  test("that the engine could not take up keep their numbers and say why", async () => {
    seed("n1");
    engine.show("data", { dirtyBytes: 8192, committedSeq: 7 });
    await start();
    const { volumes } = await engine.status({ signal });
    const [volume] = volumes;
    if (volume === undefined) throw new Error("not attached");
    const fault = { code: "store-unavailable", message: "the store does not answer" };
    engine.setWaiting([{ name: "data", uid: volume.uid, fault }]);
    await clock.advance(5_000);
    expect(await look()).toMatchObject({ dirtyBytes: 8192, position: { seq: 7 } });
    expect(await condition("Healthy")).toMatchObject({ reason: "StoreUnavailable" });
  });

  test("are reported again when the API server is back", async () => {
    expectLog(/a report failed/u);
    seed("n1");
    onCall = () => {
      throw new WeirError("kube-unavailable", "the API server does not answer");
    };
    await start();
    await clock.advance(20_000);
    onCall = () => undefined;
    await clock.advance(5_000);
    expect(await condition("Healthy")).toMatchObject({ status: "True" });
  });

  test("wait while the engine restarts", async () => {
    seed("n1");
    engine.fail("status", new WeirError("engine-unavailable", "no engine"));
    await start();
    await clock.advance(60_000);
    expect(applies()).toBe(0);
    engine.fail("status", undefined);
    await clock.advance(5_000);
    expect(applies()).toBe(1);
  });
});
