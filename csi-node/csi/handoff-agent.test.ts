// Goal: people hear of each handoff once, on the Node, with how many devices and how long; a failed
// one says why. Method: two agents, as in the middle of a rollout, on the fake engine, the fake API
// server and a fake clock.
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { FakeKube } from "../../core/kube/fake-kube.ts";
import { captureLogs } from "../../test/support/log-capture.ts";
import type { EngineStatus } from "../control/engine-api.ts";
import { FakeEngine } from "../control/fake-engine.ts";
import { runHandoffAgent } from "./handoff-agent.ts";

type Handoff = NonNullable<EngineStatus["handoff"]>;

let clock: FakeClock;
let engine: FakeEngine;
let kube: FakeKube;
let stop: AbortController;
let running: Promise<unknown>;

beforeEach(() => {
  clock = new FakeClock();
  const random = new SeededRandom(1);
  kube = new FakeKube({ clock, random });
  engine = new FakeEngine();
  stop = new AbortController();
  const log = pino({}, captureLogs());
  const parts = { api: kube, engine, nodeName: "n1", clock, random, log };
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
