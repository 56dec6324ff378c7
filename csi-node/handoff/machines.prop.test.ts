// Goal: whatever the order of messages, deaths, cuts, deadlines and moves inside the window, there
// are never two owners, every state that is not a home has a deadline, and once nothing more goes
// wrong everybody comes home with an owner left. Method: both machines in one world; a random list
// of numbers picks each next event from those that are possible.
import { expect, test } from "vitest";
import * as fc from "fast-check";

import { MachineWorld } from "../../test/support/handoff/machine-world.ts";

const EVENTS_MAX = 80;
const FAULT_EVERY = 20;
/** After the last fault; each event moves something on, so this is far more than is needed. */
const EVENTS_TO_HOME_MAX = 500;

function checkAlways(world: MachineWorld): void {
  const story = world.trace.join(", ");
  expect(world.touching.length, `owners ${world.touching.join()}: ${story}`).toBeLessThan(2);
  expect(world.withoutDeadline, story).toEqual([]);
}

/** Mostly what moves on; now and then anything: many faults at once never get far. */
function drive(world: MachineWorld, choices: readonly number[]): void {
  for (const choice of choices) {
    const calm = choice % FAULT_EVERY !== 0;
    const possible = world.enabled.filter(({ fault, name }) => !calm || isProgress(name, fault));
    possible[Math.floor(choice / FAULT_EVERY) % Math.max(possible.length, 1)]?.run();
    checkAlways(world);
  }
}

function isProgress(name: string, fault: boolean | undefined): boolean {
  return fault !== true && !/deadline|revive/u.test(name);
}

/** Nothing more goes wrong: what is left to happen happens, deadlines last. */
function settle(world: MachineWorld, quickRestarts: boolean): void {
  for (let count = 0; count < EVENTS_TO_HOME_MAX && !world.atHome; count += 1) {
    const possible = world.enabled.filter(({ fault }) => fault !== true);
    const restart = quickRestarts
      ? possible.find(({ name }) => /restarted/u.test(name))
      : undefined;
    const soon = possible.find(({ name }) => !/deadline|progress|restarted/u.test(name));
    (restart ?? soon ?? possible[0])?.run();
    checkAlways(world);
  }
  const story = world.trace.join(", ");
  expect(world.atHome, story).toBe(true);
  expect(world.touching.length, story).toBe(world.isLastOwnerAlive ? 1 : 0);
}

test("whatever happens in whatever order: one owner, and a way home", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 10_000 }), { maxLength: EVENTS_MAX }),
      fc.nat({ max: 9 }),
      fc.boolean(),
      (choices, kind, quickRestarts) => {
        const world = new MachineWorld({ dryRun: kind === 0 });
        drive(world, choices);
        settle(world, quickRestarts);
      },
    ),
    { numRuns: 8_000 },
  );
});

test("without a fault the successor serves and the predecessor idles", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 1_000 }), { minLength: 60, maxLength: 60 }), (choices) => {
      const world = new MachineWorld({ dryRun: false });
      for (const choice of choices) {
        const possible = world.enabled.filter(({ fault, name }) => isProgress(name, fault));
        possible[choice % Math.max(possible.length, 1)]?.run();
        checkAlways(world);
      }
      expect(world.touching, world.trace.join(", ")).toEqual(["successor"]);
      expect(world.predecessor.name).toBe("idle");
    }),
  );
});

test("a dry run changes nobody's role", () => {
  const world = new MachineWorld({ dryRun: true });
  settle(world, false);
  expect(world.predecessor).toEqual({ name: "serving", generation: 7 });
  expect(world.successor).toMatchObject({ name: "gone", end: { kind: "warm" } });
  expect(world.reports).toEqual(["dry-run"]);
});

/** Up to the moment in which the successor owns everything and has not said so. */
const TO_THE_CREATE = [
  ...["> hello", "< hello-ack", "settled", "< warm", "loaded", "> warm-ready", "< freeze"],
  ...["handed", "create"],
];

// Deep in the tree of events, so that chance alone may miss them.
test.each([
  ["kept", [...TO_THE_CREATE.slice(0, -1), "revive"]],
  ["recovered", [...TO_THE_CREATE, "successor dies", "revive", "reclaim"]],
  ["lost", [...TO_THE_CREATE, "successor dies", "revive", "successor restarted", "reclaim"]],
  ["recovered", [...TO_THE_CREATE, "taken", "given", "predecessor's deadline", "reclaim"]],
])("%s: %s", (outcome, story) => {
  const world = new MachineWorld({ dryRun: false });
  for (const name of story) {
    const happening = world.enabled.find((possible) => possible.name === name);
    expect(happening, `${name} is possible after: ${world.trace.join(", ")}`).toBeDefined();
    happening?.run();
    checkAlways(world);
  }
  settle(world, false);
  expect(world.reports).toEqual([outcome]);
});
