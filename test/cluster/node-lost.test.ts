// Goal: a node is lost and nobody's data is lost in silence. The pod runs on the second node with
// what was committed; for class `s3` that is everything that was synced. What only the lost node
// has is told in the Volume's status and on the claim, stays told, and stays on that node's disk.
// The node that returns is fenced: what it has never reaches the bucket. Method: the guest is
// switched off under two pods, with data that a snapshot committed and data that nothing uploads
// (the class waits an hour); the taint of Kubernetes for such nodes; then the guest boots again,
// and the pod moves back to it.
import { expect, test } from "vitest";
import { z } from "zod";
import { kubectl } from "../../hack/cluster/kubectl.ts";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { loseNode, onNode, operatorPlaces, regainNode, weirOn } from "../support/cluster-nodes.ts";
import { claim, podWithClaim, storageClass, volumeSnapshot } from "../support/cluster-objects.ts";

const TAINT = "node.kubernetes.io/out-of-service";
const MIB = 1024 * 1024;
const VOLUMES = "volumes.weir.storage";

const write = (file: string) =>
  `dd if=/dev/urandom of=/data/${file} bs=1M count=4 conv=fsync status=none; ${sumOf(file)}`;
const sumOf = (file: string) => `sha256sum </data/${file}`;

const bound = z.object({ spec: z.object({ volumeName: z.string() }) });
const snapshotState = z.object({ status: z.object({ readyToUse: z.boolean() }).optional() });
const volumeState = z.object({
  status: z.object({
    uid: z.string(),
    dirtyBytes: z.number().optional(),
    stranded: z.array(z.object({ node: z.string(), bytes: z.number() })).optional(),
    conditions: z.array(
      z.object({ type: z.string(), status: z.string(), reason: z.string(), message: z.string() }),
    ),
  }),
});
const engineStatus = z.object({
  waiting: z.array(z.object({ name: z.string(), fault: z.object({ code: z.string() }) })),
});

async function volumeOf(scene: Scene, name: string): Promise<string> {
  return (await scene.get(bound, "pvc", name)).spec.volumeName;
}

async function stateOf(scene: Scene, volume: string) {
  return (await scene.get(volumeState, VOLUMES, volume)).status;
}

async function stable(scene: Scene, volume: string) {
  const { conditions } = await stateOf(scene, volume);
  return conditions.find(({ type }) => type === "Stable");
}

/** Commits what the pod's volume has now. */
async function commit(scene: Scene, source: string): Promise<void> {
  await scene.apply(volumeSnapshot({ name: "committed", claim: source }));
  await eventually("a snapshot", async () => {
    const { status } = await scene.get(snapshotState, "volumesnapshot", "committed");
    return status?.readyToUse === true ? true : undefined;
  });
}

/** Two pods on the node that will be lost; the bytes of `late` are there only. */
async function writeOn(scene: Scene, node: string) {
  const name = `late-${scene.namespace}`;
  const parameters = { durability: "local", maxDirtyAge: "1h" };
  await scene.share(storageClass({ name, parameters, binding: "WaitForFirstConsumer" }));
  await scene.apply(
    claim({ name: "local", storageClass: name, size: "64Mi" }),
    claim({ name: "s3", storageClass: "weir-s3", size: "64Mi" }),
    podWithClaim({ name: "local-1", claim: "local", node }),
    podWithClaim({ name: "s3-1", claim: "s3", node }),
  );
  await scene.untilReady("local-1");
  await scene.untilReady("s3-1");
  const volume = await volumeOf(scene, "local");
  const early = await scene.run("local-1", write("early"));
  await commit(scene, "local");
  await scene.run("local-1", write("late"));
  const synced = await scene.run("s3-1", write("synced"));
  await eventually("the late bytes are reported", async () =>
    ((await stateOf(scene, volume)).dirtyBytes ?? 0) >= 4 * MIB ? true : undefined,
  );
  return { volume, early, synced };
}

async function untilFenced(node: string, volume: string): Promise<void> {
  await eventually("the node that returned is fenced", async () => {
    const { waiting } = engineStatus.parse(JSON.parse(await weirOn(node, "status", "--json")));
    return waiting.some((one) => one.name === volume && one.fault.code === "fenced") || undefined;
  });
}

test("a pod goes on elsewhere, what is lost is told, the returning node is fenced", async () => {
  const { with: second, without: first } = await operatorPlaces();
  await using scene = await startScene();
  await using cleaning = new AsyncDisposableStack();
  const { volume, early, synced } = await writeOn(scene, first);
  const { uid } = await stateOf(scene, volume);
  cleaning.defer(async () => {
    await regainNode(first);
    await kubectl(["taint", "node", first, `${TAINT}-`]).catch(() => undefined);
    // An administrator's work: Weir never deletes what only this node has.
    await weirOn(first, "detach", await volumeOf(scene, "s3")).catch(() => undefined);
    await onNode(first, `rm -rf /var/lib/weir/journals/*.stranded-*`);
  });
  await loseNode(first);
  await kubectl(["taint", "node", first, `${TAINT}=lost:NoExecute`]);
  await scene.apply(
    podWithClaim({ name: "local-2", claim: "local", node: second }),
    podWithClaim({ name: "s3-2", claim: "s3", node: second }),
  );
  await scene.untilReady("local-2");
  await scene.untilReady("s3-2");
  expect(await scene.run("local-2", sumOf("early"))).toBe(early);
  expect(await scene.run("local-2", "ls /data")).not.toContain("late");
  expect(await scene.run("s3-2", sumOf("synced"))).toBe(synced);
  const fresh = await scene.run("local-2", write("fresh"));

  const { stranded } = await stateOf(scene, volume);
  expect(stranded).toMatchObject([{ node: first }]);
  expect(stranded?.[0]?.bytes).toBeGreaterThanOrEqual(4 * MIB);
  const other = await stateOf(scene, await volumeOf(scene, "s3"));
  expect(other.stranded ?? []).toEqual([]);
  expect(await scene.describe("pvc", "local")).toMatch(/StrandedOnNode.*are on node/u);

  await regainNode(first);
  await kubectl(["taint", "node", first, `${TAINT}-`]);
  await untilFenced(first, volume);
  await eventually("the claim tells of it", async () =>
    /Fenced/u.test(await scene.describe("pvc", "local")) ? true : undefined,
  );
  expect(await scene.run("local-2", sumOf("fresh"))).toBe(fresh);

  await scene.delete("pod", "local-2");
  await scene.apply(podWithClaim({ name: "local-3", claim: "local", node: first }));
  await scene.untilReady("local-3");
  expect(await scene.run("local-3", sumOf("early"))).toBe(early);
  expect(await scene.run("local-3", sumOf("fresh"))).toBe(fresh);
  expect(await scene.run("local-3", "ls /data")).not.toContain("late");
  expect(await onNode(first, `ls -d /var/lib/weir/journals/${uid}.stranded-*`)).not.toBe("");
  // Nobody has decided yet.
  expect(await stable(scene, volume)).toMatchObject({ status: "False" });
  console.log(await scene.describe(VOLUMES, volume));
});
