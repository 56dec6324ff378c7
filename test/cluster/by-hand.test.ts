// Goal: a Volume and a Snapshot applied by hand work like those that claims ask for, a pod's volume
// moves with it to another node, and data goes exactly when the policy says so. Method: by kubectl
// as a user would; the bucket is looked at as files of the S3 server.
import { expect, test } from "vitest";
import { z } from "zod";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { objectsOf } from "../support/cluster-bucket.ts";
import { claim, podWithClaim } from "../support/cluster-objects.ts";

const weirObject = z.object({ status: z.object({ uid: z.string(), phase: z.string() }) });
const claimObject = z.object({ spec: z.object({ volumeName: z.string() }) });
const volume = "volumes.weir.storage";

async function uidOf(scene: Scene, kind: string, name: string): Promise<string> {
  return await eventually(`${kind} ${name}`, async () => {
    const found = weirObject.safeParse(await scene.get(z.unknown(), kind, name));
    return found.success && found.data.status.phase !== "Pending"
      ? found.data.status.uid
      : undefined;
  });
}

const hasData = (uid: string): boolean => objectsOf(uid) > 0;

test("a Volume by hand gets a PV, moves between nodes with its data, and a Snapshot", async () => {
  await using scene = await startScene();
  const name = `hand-${scene.namespace}`;
  const copy = `copy-${scene.namespace}`;
  const api = { apiVersion: "weir.storage/v1alpha1" };
  const byHand = {
    persistentVolume: {
      storageClassName: "by-hand",
      reclaimPolicy: "Retain",
      claimRef: { namespace: scene.namespace, name: "data" },
    },
  };
  await scene.apply({
    ...api,
    kind: "Volume",
    metadata: { name },
    spec: { size: "64Mi", ...byHand },
  });
  const uid = await uidOf(scene, volume, name);
  await scene.apply(
    claim({ name: "data", storageClass: "by-hand", size: "64Mi" }),
    podWithClaim({ name: "one", claim: "data", node: "worker-1" }),
  );
  await scene.untilReady("one");
  const sum = await scene.run(
    "one",
    "dd if=/dev/urandom of=/data/file bs=1M count=8 conv=fsync 2>/dev/null; sha256sum </data/file",
  );
  await scene.delete("pod", "one");
  await scene.apply(podWithClaim({ name: "two", claim: "data", node: "worker-2" }));
  await scene.untilReady("two");
  expect(await scene.run("two", "sha256sum </data/file")).toBe(sum);

  const snapshot = { ...api, kind: "Snapshot", metadata: { name }, spec: { volume: name } };
  await scene.apply(snapshot);
  await uidOf(scene, "snapshots.weir.storage", name);
  await scene.apply({
    ...api,
    kind: "Volume",
    metadata: { name: copy },
    spec: { size: "64Mi", source: { snapshot: name } },
  });
  const copyUid = await uidOf(scene, volume, copy);
  expect(hasData(copyUid)).toBe(true);

  await scene.delete(volume, copy);
  await scene.delete("snapshots.weir.storage", name);
  await eventually("the copy's data is gone", async () => (hasData(copyUid) ? undefined : true));
  await scene.delete("pod", "two");
  await scene.delete("pvc", "data");
  expect(hasData(uid)).toBe(true);
  await scene.delete("pv", name);
  await scene.delete(volume, name);
  await eventually("the data is gone", async () => (hasData(uid) ? undefined : true));
});

test("a claim's data goes with the claim", async () => {
  await using scene = await startScene();
  await scene.apply(
    claim({ name: "short", storageClass: "weir-local", size: "64Mi" }),
    podWithClaim({ name: "user", claim: "short" }),
  );
  await scene.untilReady("user");
  const { spec } = await scene.get(claimObject, "pvc", "short");
  const uid = await uidOf(scene, volume, spec.volumeName);
  expect(hasData(uid)).toBe(true);
  await scene.delete("pod", "user");
  await scene.delete("pvc", "short");
  await eventually("the data is gone", async () => (hasData(uid) ? undefined : true));
});
