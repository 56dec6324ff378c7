// Goal: a hundred claims at once are all made and all deleted, and nothing of them is left: no
// object in the API server or in the bucket, no device, mount or record on a node. Method: claims
// of a class that binds at once, all in one request; four of them get pods whose data is read back
// by other pods; everything is deleted at once. (The janitor has nothing to do here: what the
// deletion of a volume removes is all that there was.)
import { expect, test } from "vitest";
import { z } from "zod";
import { eventually, startScene } from "../support/cluster.ts";
import { isNamed, objectsOf } from "../support/cluster-bucket.ts";
import { allTraces, untilTracesGone } from "../support/cluster-nodes.ts";
import { claim, podWithClaim, storageClass } from "../support/cluster-objects.ts";

const CLAIMS = 100;
const PODS = 4;
const PATIENCE_MS = 400_000;

const claimList = z.object({
  items: z.array(z.object({ status: z.object({ phase: z.string() }) })),
});
const volumeList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      status: z.object({ uid: z.string() }),
    }),
  ),
});
const attachmentList = z.object({
  items: z.array(
    z.object({
      spec: z.object({ source: z.object({ persistentVolumeName: z.string().optional() }) }),
    }),
  ),
});
const anyList = z.object({
  items: z.array(z.object({ metadata: z.object({ name: z.string() }) })),
});

const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index));

test("a hundred claims come and go, and nothing is left", async () => {
  const before = await allTraces();
  await using scene = await startScene();
  const name = `many-${scene.namespace}`;
  await scene.share(storageClass({ name, parameters: { durability: "local" } }));
  const ours = `--selector=weir.storage/pvc-namespace=${scene.namespace}`;

  await scene.apply(
    ...numbers(CLAIMS).map((n) => claim({ name: `c${n}`, storageClass: name, size: "64Mi" })),
    ...numbers(PODS).map((n) => podWithClaim({ name: `w${n}`, claim: `c${n}` })),
  );
  await eventually(
    "all claims are bound",
    async () => {
      const { items } = await scene.get(claimList, "pvc");
      return items.filter(({ status }) => status.phase === "Bound").length === CLAIMS || undefined;
    },
    PATIENCE_MS,
  );
  const volumes = (await scene.get(volumeList, "volumes.weir.storage", ours)).items;
  expect(volumes).toHaveLength(CLAIMS);
  for (const { metadata, status } of volumes) {
    expect(isNamed(metadata.name)).toBe(true);
    expect(objectsOf(status.uid)).toBeGreaterThan(0);
  }

  const write = "dd if=/dev/urandom of=/data/file bs=1M count=4 conv=fsync 2>/dev/null";
  const sums = await inEach("w", (pod) => scene.run(pod, `${write}; sha256sum </data/file`));
  await scene.delete("pod", "--all");
  await scene.apply(...numbers(PODS).map((n) => podWithClaim({ name: `r${n}`, claim: `c${n}` })));
  expect(await inEach("r", (pod) => scene.run(pod, "sha256sum </data/file"))).toEqual(sums);

  await scene.delete("pod,pvc", "--all");
  const names = new Set(volumes.map(({ metadata }) => metadata.name));
  await eventually(
    "everything is gone",
    async () => {
      const left = await scene.get(anyList, "volumes.weir.storage,pv");
      const attached = await scene.get(attachmentList, "volumeattachments");
      const isOurs = (one: string | undefined) => one !== undefined && names.has(one);
      return left.items.some(({ metadata }) => isOurs(metadata.name)) ||
        attached.items.some(({ spec }) => isOurs(spec.source.persistentVolumeName)) ||
        volumes.some(({ metadata, status }) => isNamed(metadata.name) || objectsOf(status.uid) > 0)
        ? undefined
        : true;
    },
    PATIENCE_MS,
  );
  await untilTracesGone(before);

  async function inEach(prefix: string, act: (pod: string) => Promise<string>) {
    const pods = numbers(PODS).map((n) => prefix + n);
    await Promise.all(pods.map((pod) => scene.untilReady(pod)));
    return Promise.all(pods.map(act));
  }
});
