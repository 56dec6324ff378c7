// Goal: a claim that is ReadWriteOncePod has one pod at a time, whoever puts the second one there,
// and an ephemeral volume lives as long as its pod: not shorter, not longer. Method: by kubectl as
// a user would; checksums are taken in the pods; the bucket is looked at as files.
import { expect, test } from "vitest";
import { z } from "zod";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { isNamed, objectsOf } from "../support/cluster-bucket.ts";
import { allTraces, onNode, untilTracesGone } from "../support/cluster-nodes.ts";
import { claim, podWithClaim, podWithOwnVolume } from "../support/cluster-objects.ts";

const WRITE =
  "dd if=/dev/urandom of=/data/file bs=1M count=8 conv=fsync 2>/dev/null; sha256sum </data/file";
const SUM = "sha256sum </data/file";

const placed = z.object({ spec: z.object({ nodeName: z.string() }) });
const running = placed.extend({
  status: z.object({
    containerStatuses: z.array(
      z.object({ containerID: z.string(), restartCount: z.number(), ready: z.boolean() }),
    ),
  }),
});
const bound = z.object({ spec: z.object({ volumeName: z.string() }) });
const named = z.object({ status: z.object({ uid: z.string() }) });

/** Waits until `kubectl describe` of the pod says it. */
async function untilToldOf(scene: Scene, pod: string, words: RegExp): Promise<void> {
  await eventually(`${pod} is told: ${words.source}`, async () =>
    words.test(await scene.describe("pod", pod)) ? true : undefined,
  );
}

test("a second pod waits for a ReadWriteOncePod claim and finds the first one's data", async () => {
  const before = await allTraces();
  {
    await using scene = await startScene();
    await scene.apply(
      claim({
        ...{ name: "data", storageClass: "weir-local", size: "64Mi" },
        access: "ReadWriteOncePod",
      }),
      podWithClaim({ name: "first", claim: "data" }),
    );
    await scene.untilReady("first");
    const sum = await scene.run("first", WRITE);
    const { nodeName } = (await scene.get(placed, "pod", "first")).spec;
    await scene.apply(
      podWithClaim({ name: "second", claim: "data" }),
      podWithClaim({ name: "forced", claim: "data", boundTo: nodeName }),
    );
    // The scheduler's words, and kubelet's about the pod that went past the scheduler.
    await untilToldOf(scene, "second", /FailedScheduling.*ReadWriteOncePod access mode/u);
    await untilToldOf(scene, "forced", /FailedMount.*ReadWriteOncePod access mode/u);
    expect(await scene.run("first", SUM)).toBe(sum);
    await scene.delete("pod", "forced");
    await scene.delete("pod", "first");
    await scene.untilReady("second");
    expect(await scene.run("second", SUM)).toBe(sum);
  }
  await untilTracesGone(before);
});

test("an ephemeral volume outlives its pod's containers and goes with the pod", async () => {
  await using scene = await startScene();
  await scene.apply(podWithOwnVolume({ name: "own", storageClass: "weir-s3", size: "64Mi" }));
  await scene.untilReady("own");
  const sum = await scene.run("own", WRITE);
  const { volumeName } = (await scene.get(bound, "pvc", "own-data")).spec;
  const { uid } = (await scene.get(named, "volumes.weir.storage", volumeName)).status;
  // Class `s3`: what was synced is in the bucket.
  expect(objectsOf(uid)).toBeGreaterThan(0);
  const first = await scene.get(running, "pod", "own");
  const id = first.status.containerStatuses[0]?.containerID.replace("containerd://", "");
  await onNode(
    first.spec.nodeName,
    `ctr --namespace k8s.io tasks kill --signal SIGKILL ${String(id)}`,
  );
  await eventually("the container runs again", async () => {
    const [main] = (await scene.get(running, "pod", "own")).status.containerStatuses;
    return main?.ready === true && main.restartCount > 0 ? true : undefined;
  });
  expect(await scene.run("own", SUM)).toBe(sum);
  await scene.delete("pod", "own");
  await eventually("the volume is gone", async () =>
    objectsOf(uid) === 0 && !isNamed(volumeName) ? true : undefined,
  );
});
