// Goal: what the engine says of its volumes is not lost while one of them is being closed. Method:
// an engine over a fake native part and a store in memory, asked again and again meanwhile.
import { setImmediate as turn } from "node:timers/promises";

import { expect, test } from "vitest";

import { HandoffWorld } from "../../test/support/handoff/handoff-world.ts";

const { signal } = new AbortController();

test("tells of the other volumes while one is detached", async () => {
  await using world = new HandoffWorld();
  await world.createVolumes(2);
  void world.run("engine", { takeOver: true });
  expect(await world.reached(() => world.serving.length === 1, 120_000)).toBe(true);
  const [node] = world.serving;
  if (node === undefined) throw new Error("no engine came up");
  await world.finished(world.attachAll(node, 2));
  const host = world.hostOf(node);
  const seen = new Set<string>();
  const over = new AbortController();
  const ask = async () => {
    while (!over.signal.aborted) {
      seen.add((await host.status()).volumes.map(({ name }) => name).join());
      await turn();
    }
  };
  const detach = async () => {
    await host.detach({ name: "v0", force: false }, { signal });
    over.abort();
  };
  await world.finished(Promise.all([ask(), detach()]));
  expect([...seen]).toEqual(["v0,v1", "v1"]);
});
