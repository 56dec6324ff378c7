// Goal: a claim and a pod, and what the pod writes is in the bucket and still there for the next
// pod. Method: on the real cluster, by kubectl as a user would; checksums are taken in the pods.
// The bucket is looked at as files of the S3 server.
import { expect, test } from "vitest";
import { z } from "zod";
import { eventually, startScene } from "../support/cluster.ts";
import { segmentsOf } from "../support/cluster-bucket.ts";
import { claim, podWithClaim } from "../support/cluster-objects.ts";

const volumeList = z.object({
  items: z.array(z.object({ status: z.object({ uid: z.string() }) })),
});

test.each(["Filesystem", "Block"] as const)("a pod's data is in the bucket: %s", async (mode) => {
  await using scene = await startScene();
  await scene.apply(
    claim({ name: "data", storageClass: "weir-local", size: "64Mi", mode }),
    podWithClaim({ name: "first", claim: "data", mode }),
  );
  await scene.untilReady("first");
  const file = mode === "Block" ? "/dev/data" : "/data/file";
  const written = await scene.run(
    "first",
    `dd if=/dev/urandom bs=1M count=16 of=/tmp/file 2>/dev/null
     dd if=/tmp/file of=${file} bs=1M conv=fsync 2>/dev/null
     sha256sum </tmp/file`,
  );

  const { items } = await scene.get(
    volumeList,
    "volumes.weir.storage",
    `--selector=weir.storage/pvc-namespace=${scene.namespace}`,
  );
  expect(items).toHaveLength(1);
  const uid = items[0]?.status.uid ?? "";
  // The class `local` uploads some time later: 16 MiB that do not compress are at least 2 segments.
  await eventually("two segments in the bucket", async () =>
    segmentsOf(uid) >= 2 ? true : undefined,
  );

  await scene.delete("pod", "first");
  await scene.apply(podWithClaim({ name: "second", claim: "data", mode }));
  await scene.untilReady("second");
  const read = `dd if=${file} bs=1M count=16 2>/dev/null | sha256sum`;
  expect(await scene.run("second", read)).toBe(written);
});
