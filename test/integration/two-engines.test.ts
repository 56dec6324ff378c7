// Goal: of two engines on one volume exactly one goes on committing, and the other's guest gets EIO
// (I4); a node that returns never takes back what another one attached meanwhile. Method: two nodes
// in this process over one bucket; the second attaches while the first has a client, or is away.
import { rmSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";

import { createVolume, deleteVolume } from "../../core/log/volumes.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { MemoryStore } from "../../core/store/memory-store.ts";
import { outputOf } from "../../hack/program.ts";
import { expectLog } from "../support/log-capture.ts";
import { makeNodeFolder, openNode } from "../support/node-under-test.ts";
import { PREPARE_MS, prepareNative } from "../support/native-programs.ts";

beforeAll(prepareNative, PREPARE_MS);

const write = (uri: string, offset: number) =>
  outputOf([
    ...["fio", "--name=w", "--ioengine=nbd", `--uri=${uri}`, "--rw=write", "--bs=4k", "--size=64k"],
    ...[`--offset=${offset}`, "--end_fsync=1"],
  ]);

test("the engine that attached later wins; the former one is fenced and answers EIO", async () => {
  expectLog(/may not write to the volume any more/u);
  expectLog(/overtook was set aside/u);
  await using store = new MemoryStore({ clock: realClock });
  const context = {
    store,
    clock: realClock,
    random: realRandom,
    signal: AbortSignal.timeout(60_000),
  };
  await createVolume({ ...context, name: "shared", sizeBytes: 64 * 1024 * 1024 });
  await using first = openNode({ store });
  await using second = openNode({ store });
  const old = await first.attach("shared", { maxDirtyAgeMs: 10 });
  await write(old.uri, 0);
  await untilCommitted(first);
  const now = await second.attach("shared", { maxDirtyAgeMs: 10 });
  // Until the old writer tries to commit it cannot know; its upload meets the SEAL.
  await write(old.uri, 1024 * 1024).catch(() => undefined);
  await until(async () => (await first.host.status()).volumes[0]?.fault?.code === "fenced");
  await expect(write(old.uri, 2 * 1024 * 1024)).rejects.toThrow(/Input\/output error|error=5/u);
  await write(now.uri, 3 * 1024 * 1024);
  await untilCommitted(second);
  const status = (await second.host.status()).volumes[0];
  expect(status?.fault).toBeUndefined();
  expect(status?.committedEpoch).toBe(status?.epoch);
  // Its node must get rid of it, and asked for again it serves what the other one left.
  await first.detach("shared");
  expect(await first.host.status()).toMatchObject({ volumes: [], waiting: [] });
  await second.detach("shared");
  const again = await first.attach("shared");
  expect(again.strandedJournal).toBeDefined();
  expect(again.fault).toBeUndefined();
  await write(again.uri, 0);
}, 120_000);

test("a node that returns takes up what is still its own, and only that", async () => {
  expectLog(/attached the volume while this node was away/u);
  expectLog(/the volume does not exist in the bucket/u);
  await using store = new MemoryStore({ clock: realClock });
  const context = {
    store,
    clock: realClock,
    random: realRandom,
    signal: AbortSignal.timeout(60_000),
  };
  await createVolume({ ...context, name: "kept", sizeBytes: 64 * 1024 * 1024 });
  await createVolume({ ...context, name: "moved", sizeBytes: 64 * 1024 * 1024 });
  const gone = await createVolume({ ...context, name: "deleted", sizeBytes: 1024 * 1024 });
  const folder = makeNodeFolder();
  {
    await using lost = openNode({ store, folder, nodeName: "a" });
    await lost.attach("kept");
    await lost.attach("moved");
    await lost.attach("deleted");
  }
  await deleteVolume({ ...context, uid: gone.uid, writer: "controller" });
  await using other = openNode({ store, nodeName: "b" });
  const now = await other.attach("moved", { maxDirtyAgeMs: 10 });
  await using returned = openNode({ store, folder, nodeName: "a" });
  await returned.host.recover(context);
  const status = await returned.host.status();
  expect(status.volumes.map(({ name }) => name)).toEqual(["kept"]);
  // In the order of their uids, which is chance.
  const waiting = status.waiting.map(({ name, fault }) => [name, fault.code] as const);
  expect(new Map(waiting)).toEqual(
    new Map([
      ["moved", "fenced"],
      ["deleted", "not-found"],
    ]),
  );
  // The new owner was not disturbed.
  await write(now.uri, 0);
  await untilCommitted(other);
  expect((await other.host.status()).volumes[0]?.fault).toBeUndefined();
  // Nothing of it is left to detach, and a wish is no guess: asked for, it attaches again.
  await returned.detach("moved");
  await returned.detach("deleted");
  expect((await returned.host.status()).waiting).toEqual([]);
  rmSync(folder, { recursive: true, force: true });
}, 120_000);

const untilCommitted = (node: ReturnType<typeof openNode>) =>
  until(async () => (await node.host.status()).volumes[0]?.dirtyBytes === 0);

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = AbortSignal.timeout(30_000);
  while (!(await condition())) await realClock.sleep(10, end);
}
