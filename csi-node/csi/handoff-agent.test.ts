// Goal: people hear of each handoff once, on the Node, with how many devices and how long; a failed
// one says why, on its Volumes as well. Method: two agents, as in the middle of a rollout, on the
// fake engine, the fake API server and a fake clock.
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { FakeKube } from "../../core/kube/fake-kube.ts";
import { captureLogs } from "../../test/support/log-capture.ts";
import type { AttachedVolume, EngineStatus } from "../control/engine-api.ts";
import { findCondition } from "../../crds/conditions.ts";
import { VOLUME } from "../../crds/volume.ts";
import { FakeEngine } from "../control/fake-engine.ts";
import { volumePolicySchema } from "../engine/config.ts";
import { runHandoffAgent } from "./handoff-agent.ts";
import type { AgentParts } from "./snapshot-agent.ts";
import { VolumeAgent } from "./volume-agent.ts";

type Handoff = NonNullable<EngineStatus["handoff"]>;

let clock: FakeClock;
let engine: FakeEngine;
let kube: FakeKube;
let stop: AbortController;
let parts: AgentParts;
let running: Promise<unknown>;

beforeEach(() => {
  clock = new FakeClock();
  const random = new SeededRandom(1);
  kube = new FakeKube({ clock, random });
  engine = new FakeEngine();
  stop = new AbortController();
  const log = pino({}, captureLogs());
  parts = { api: kube, engine, nodeName: "n1", clock, random, log };
  running = Promise.all([1, 2].map(() => runHandoffAgent(parts, stop.signal)));
});

afterEach(async () => {
  stop.abort();
  await clock.runUntil(running);
});

function handoff(change: Partial<Handoff>): Handoff {
  const stall = { transport: "ublk", stallUs: 4_200, phasesUs: {} } as const;
  return {
    ...{ outcome: "taken", generation: 2, reason: undefined, peerBuild: "", phasesMs: {} },
    ...{ devices: [{ uid: "a", ...stall }], worstStallUs: 4_200, endedAtMs: clock.wallMs() },
    ...change,
  };
}

const told = () => kube.events.map(({ type, reason, note }) => ({ type, reason, note }));

test("each handoff is told once, though two processes see it and see it again", async () => {
  engine.handoff = handoff({});
  await clock.advance(60_000);
  const note = "Weir's new engine serves 1 device, worst stall 4.2 ms";
  expect(told()).toEqual([{ type: "Normal", reason: "HandoffCompleted", note }]);
  expect(kube.events[0]?.regarding).toMatchObject({ kind: "Node", name: "n1", uid: "n1" });
  engine.handoff = handoff({ generation: 3 });
  await clock.advance(60_000);
  expect(told()).toHaveLength(2);
});

test("one that failed says why", async () => {
  engine.handoff = handoff({ outcome: "kept", reason: "the successor died" });
  await clock.advance(10_000);
  const note = "Weir's engine serves on as before: the successor died";
  expect(told()).toEqual([{ type: "Warning", reason: "HandoffFailed", note }]);
});

async function attached(name: string, node: string): Promise<AttachedVolume> {
  const spec = { size: "1Gi", durability: "local", deletionPolicy: "Delete" };
  kube.seed(VOLUME, { metadata: { name }, spec, status: { node } });
  engine.create(name, 1024 ** 3);
  const policy = volumePolicySchema.parse({});
  return engine.attach({ name, transport: { kind: "ublk" }, policy }, stop);
}

test("one that failed is told on each Volume of this node, once for all attempts", async () => {
  await attached("here", "n1");
  await attached("moved", "n2");
  for (let attempt = 0; attempt < 2; attempt += 1) {
    engine.handoff = handoff({ outcome: "kept", reason: "the successor died" });
    await clock.advance(10_000);
  }
  const ofVolumes = kube.events.filter(({ regarding }) => regarding.kind === "Volume");
  expect(ofVolumes.map(({ regarding, reason }) => [regarding.name, reason])).toEqual([
    ["here", "HandoffFailed"],
  ]);
  expect(kube.events).toHaveLength(3);
});

test("a Volume says at once that one failed, and later that one went well", async () => {
  const { uid } = await attached("here", "n1");
  const reporting = new VolumeAgent(parts).run(stop.signal);
  const condition = async () => {
    const volume = await kube.get(VOLUME, { name: "here" }, stop);
    return findCondition(volume?.status?.conditions, "HandedOver");
  };
  await clock.advance(1_000);
  expect(await condition()).toBeUndefined();
  engine.handoff = handoff({ outcome: "kept", reason: "the successor died" });
  await clock.advance(5_000);
  expect(await condition()).toMatchObject({
    status: "False",
    reason: "HandoffFailed",
    message: "Weir's engine serves on as before: the successor died",
  });
  const devices = [{ uid, transport: "ublk", stallUs: 4_200, phasesUs: {} }] as const;
  engine.handoff = handoff({ generation: 3, devices });
  await clock.advance(30_000);
  const message = "A new engine serves it; its I/O waited for 4.2 ms.";
  expect(await condition()).toMatchObject({ status: "True", reason: "HandoffCompleted", message });
  await clock.advance(60_000);
  expect(kube.calls.filter(({ verb }) => verb === "apply")).toHaveLength(3);
  engine.handoff = handoff({ generation: 4 });
  await clock.advance(30_000);
  expect(await condition()).toBeUndefined();
  stop.abort();
  await clock.runUntil(reporting);
});

test("an engine that cannot be asked is asked again; an old handoff is no news", async () => {
  engine.fail("status", new WeirError("engine-unavailable", "it starts"));
  await clock.advance(10_000);
  engine.fail("status", undefined);
  engine.handoff = handoff({ endedAtMs: clock.wallMs() - 3_600_000 });
  await clock.advance(10_000);
  expect(told()).toEqual([]);
  engine.handoff = handoff({});
  await clock.advance(10_000);
  expect(told()).toHaveLength(1);
});
