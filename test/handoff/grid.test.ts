// Goal: whatever breaks at whatever step of a handoff, afterwards one engine serves every device,
// no user saw an error, and no acknowledged write is gone. Method: the grid of all steps by all
// faults over fake engines (test/support/handoff), with the real protocol, sessions and log; users
// write all the time, kubelet starts anew what died, time is the fake clock's. Each cell proves
// that its fault fired.
import { describe, expect, test } from "vitest";

import { HandoffWorld, type FakeNode } from "../support/handoff/handoff-world.ts";

const VOLUMES = 2;
/** Of fake time; most cells need a few seconds. */
const SETTLED_WITHIN_MS = 150_000;
const QUIET_MS = 4_000;
const OUTAGE_MS = 12_000;

/** In the order of a handoff without a fault, which the first test checks. */
const STEPS = [
  "new successor greeting",
  "old predecessor greeting",
  "old predecessor settling",
  "new successor listing",
  "old predecessor warming",
  "new successor loading",
  "new successor ready",
  "old predecessor window",
  "new take-began",
  "new successor window",
  "old give-began",
  "old give-frozen 1",
  "old give-released 1",
  "old give-handed 1",
  "new take-handed 1",
  "new take-caught-up 1",
  "new take-created",
  "new take-serving 1",
  "old give-frozen 2",
  "old give-released 2",
  "old give-handed 2",
  "new take-handed 2",
  "new take-caught-up 2",
  "new take-serving 2",
  "new take-ended",
  "new successor adopting",
  "old give-ended",
  "old predecessor given",
  "new successor farewell",
  "old predecessor releasing",
  "old predecessor idle",
  "new successor serving",
] as const;

/** Whose fault fired, and which came through it. */
let cells = 0;

type Fault = (world: HandoffWorld, nodes: { old: FakeNode; new: FakeNode }) => void;

const stopFor = (ms: number, ...names: readonly ("old" | "new")[]): Fault => {
  return (world, nodes) => {
    for (const name of names) nodes[name].process.stop();
    void world.clock.sleep(ms).then(() => {
      for (const name of names) nodes[name].process.resume();
    });
  };
};

const FAULTS: Readonly<Record<string, Fault>> = {
  "predecessor killed": (_world, { old }) => old.process.kill(),
  "successor killed": (_world, nodes) => nodes.new.process.kill(),
  "both killed": (_world, nodes) => {
    nodes.old.process.kill();
    nodes.new.process.kill();
  },
  "predecessor stopped 2 s": stopFor(2_000, "old"),
  "predecessor stopped 45 s": stopFor(45_000, "old"),
  "successor stopped 2 s": stopFor(2_000, "new"),
  "successor stopped 45 s": stopFor(45_000, "new"),
  "both stopped 8 s": stopFor(8_000, "old", "new"),
  "socket cut": (world) => void world.sockets.cut(),
  "S3 down": (world) => {
    world.storeDown = true;
    void world.clock.sleep(OUTAGE_MS).then(() => (world.storeDown = false));
  },
  "disk full": (world) => {
    world.machine.diskFull = true;
    void world.clock.sleep(OUTAGE_MS).then(() => (world.machine.diskFull = false));
  },
};

async function begin(): Promise<{ world: HandoffWorld; old: FakeNode }> {
  const world = new HandoffWorld();
  await world.createVolumes(VOLUMES);
  void world.run("old", { takeOver: true });
  expect(await world.reached(() => world.serving.length === 1, SETTLED_WITHIN_MS)).toBe(true);
  const [old] = world.serving;
  if (old === undefined) throw new Error("no engine came up");
  await world.finished(world.attachAll(old, VOLUMES));
  return { world, old };
}

/** Settled, and still so a while later. */
async function settles(world: HandoffWorld): Promise<boolean> {
  for (let tries = 0; tries < 20; tries += 1) {
    if (!(await world.reached(() => world.isSettled, SETTLED_WITHIN_MS))) return false;
    await world.finished(world.clock.sleep(QUIET_MS));
    if (world.isSettled) return true;
  }
  return false;
}

function story(world: HandoffWorld): string {
  return world.nodes
    .map(({ container, process, engine, fault }) => {
      const life = process.isAlive ? engine.state : "dead";
      return `${container} ${life} ${fault instanceof Error ? fault.message : ""}`;
    })
    .join("\n");
}

async function expectSurvived(step: string, fault: Fault): Promise<void> {
  const { world, old } = await begin();
  await using _ = world;
  let fired = 0;
  world.onStep = ({ container }, name) => {
    const successor = world.nodes.find((node) => node.container === "new");
    if (fired > 0 || successor === undefined || `${container} ${name}` !== step) return;
    fired += 1;
    fault(world, { old, new: successor });
  };
  void world.run("new", { takeOver: true });
  await world.reached(() => fired > 0, SETTLED_WITHIN_MS);
  expect(fired, `the handoff never came to: ${step}\n${story(world)}`).toBe(1);
  expect(await settles(world), `nobody serves alone:\n${story(world)}`).toBe(true);
  const before = world.answered;
  await world.reached(() => world.answered > before + 8 * VOLUMES, SETTLED_WITHIN_MS);
  expect(world.machine.violations, story(world)).toEqual([]);
  expect(world.answered).toBeGreaterThan(before + 8 * VOLUMES);
  cells += fired;
}

test("the steps of the grid are those of a handoff, in their order", async () => {
  const { world } = await begin();
  await using _ = world;
  const seen: string[] = [];
  world.onStep = ({ container }, name) => seen.push(`${container} ${name}`);
  void world.run("new", { takeOver: true });
  expect(await settles(world)).toBe(true);
  expect(seen.toSorted()).toEqual([...STEPS].toSorted());
});

describe.each(Object.entries(FAULTS))("%s", (_name, fault) => {
  test.each(STEPS)("at %s", async (step) => {
    await expectSurvived(step, fault);
  });
});

test("the grid is whole", () => {
  console.log(`handoff fault grid: ${cells} cells, each with its fault fired`);
  expect(cells).toBe(STEPS.length * Object.keys(FAULTS).length);
});
