// Goal: what a snapshot, a clone or a larger size promises a user holds on the real cluster.
// Method: by kubectl as a user would. The source is written all the time: its file holds the
// numbers from 1 on, each synced before the next, so a consistent cut holds the numbers up to one
// that is not smaller than the last one seen before the snapshot was asked for.
import { expect, test } from "vitest";
import { z } from "zod";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { claim, podWithClaim, volumeSnapshot } from "../support/cluster-objects.ts";

const COUNT = `i=0; while :; do i=$((i+1)); echo $i >>/data/numbers; sync; done`;

/** The last of the numbers in the pod's file; fails when one is missing or out of order. */
async function lastNumber(scene: Scene, pod: string): Promise<number> {
  const check = `NR != $1 { print "line " NR " is " $0; exit 1 } END { print NR }`;
  return Number(await scene.run(pod, `awk '${check}' /data/numbers`));
}

const snapshotState = z.object({ status: z.object({ readyToUse: z.boolean() }).optional() });

async function takeSnapshot(scene: Scene, name: string, source: string): Promise<void> {
  await scene.apply(volumeSnapshot({ name, claim: source }));
  await eventually(`snapshot ${name}`, async () => {
    const { status } = await scene.get(snapshotState, "volumesnapshot", name);
    return status?.readyToUse === true ? true : undefined;
  });
}

test("a snapshot taken under writes is a consistent cut; a clone too", async () => {
  await using scene = await startScene();
  await scene.apply(
    claim({ name: "source", storageClass: "weir-local", size: "64Mi" }),
    podWithClaim({ name: "writer", claim: "source", command: COUNT }),
  );
  await scene.untilReady("writer");
  await eventually("some numbers", async () =>
    Number(await scene.run("writer", "wc -l </data/numbers || echo 0")) > 20 ? true : undefined,
  );
  const before = await lastNumber(scene, "writer");
  await takeSnapshot(scene, "cut", "source");
  const after = await lastNumber(scene, "writer");
  await scene.apply(
    claim({
      name: "restored",
      storageClass: "weir-local",
      // Larger than its source: the file system is to grow, too.
      size: "128Mi",
      from: { kind: "VolumeSnapshot", name: "cut" },
    }),
    claim({
      name: "cloned",
      storageClass: "weir-local",
      size: "64Mi",
      from: { kind: "PersistentVolumeClaim", name: "source" },
    }),
    podWithClaim({ name: "restored", claim: "restored" }),
    podWithClaim({ name: "cloned", claim: "cloned" }),
  );
  await scene.untilReady("restored");
  const restored = await lastNumber(scene, "restored");
  expect(restored).toBeGreaterThanOrEqual(before);
  expect(restored).toBeLessThanOrEqual(after);
  const kib = Number(await scene.run("restored", "df -k /data | awk 'END { print $2 }'"));
  expect(kib).toBeGreaterThan(96 * 1024);
  await scene.untilReady("cloned");
  expect(await lastNumber(scene, "cloned")).toBeGreaterThanOrEqual(after);
  // Both ways apart (I7).
  await scene.run("restored", "echo gone >/data/numbers; sync");
  expect(await lastNumber(scene, "writer")).toBeGreaterThan(after);
});

test("a volume grows while a pod uses it: a file system, and a raw device", async () => {
  await using scene = await startScene();
  await scene.apply(
    claim({ name: "files", storageClass: "weir-s3", size: "64Mi" }),
    claim({ name: "raw", storageClass: "weir-local", size: "64Mi", mode: "Block" }),
    podWithClaim({ name: "files", claim: "files" }),
    podWithClaim({ name: "raw", claim: "raw", mode: "Block" }),
  );
  await scene.untilReady("files");
  await scene.untilReady("raw");
  const sum = await scene.run(
    "files",
    "dd if=/dev/urandom of=/data/file bs=1M count=8 conv=fsync 2>/dev/null; sha256sum </data/file",
  );
  await scene.apply(
    claim({ name: "files", storageClass: "weir-s3", size: "256Mi" }),
    claim({ name: "raw", storageClass: "weir-local", size: "256Mi", mode: "Block" }),
  );
  await eventually("a larger file system", async () => {
    const kib = Number(await scene.run("files", "df -k /data | awk 'END { print $2 }'"));
    return kib > 200 * 1024 ? true : undefined;
  });
  expect(await scene.run("files", "sha256sum </data/file")).toBe(sum);
  await eventually("a larger device", async () => {
    const bytes = Number(await scene.run("raw", "blockdev --getsize64 /dev/data"));
    return bytes === 256 * 1024 * 1024 ? true : undefined;
  });
});
