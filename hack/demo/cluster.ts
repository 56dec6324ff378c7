// The story of volumes on a real Kubernetes: control plane and S3 server on this machine, two nodes
// as guests, Weir by its chart. Told by kubectl as a user would; checksums are taken in the pods,
// and the bucket is looked at as files of the S3 server. Ends the cluster that it began, unless
// there is something to look at.
import { join } from "node:path";
import { z } from "zod";
import { eventually, startScene, type Scene } from "../../test/support/cluster.ts";
import { claim, podWithClaim, volumeSnapshot } from "../../test/support/cluster-objects.ts";
import { installWeir, untilInstalled } from "../cluster/addons.ts";
import { bringUp, forgetCluster } from "../cluster/cluster.ts";
import { daemonNames } from "../cluster/daemons.ts";
import { kubectl } from "../cluster/kubectl.ts";
import { s3, storeUrl } from "../cluster/layout.ts";
import { ensurePackages } from "../packages.ts";
import { bucketObjects, showBucket } from "./bucket.ts";
import { must, mustEqual, Story } from "./story.ts";

const READY_MS = 600_000;
const MIB = 2 ** 20;
const CLASS = "weir-local";
const FILE = "/data/file";
const VOLUMES = "volumes.weir.storage";
const bucket = join(s3.folder, s3.bucket);

const volumeList = z.object({
  items: z.array(
    z.object({
      status: z.object({
        uid: z.string(),
        dirtyBytes: z.number().optional(),
        node: z.string().optional(),
      }),
    }),
  ),
});
const snapshotState = z.object({ status: z.object({ readyToUse: z.boolean() }).optional() });

const story = new Story();

export async function tellClusterStory(options: { readonly keep: boolean }): Promise<number> {
  const wasUp = daemonNames().length > 0;
  const exitCode = await story.tell(async () => {
    await setUp(wasUp);
    await using scene = await startScene("demo");
    await tellStory(scene);
  });
  if (wasUp || options.keep || exitCode !== 0) {
    console.log("The cluster stays: npm run cluster -- status, npm run cluster -- down.");
  } else {
    await forgetCluster();
  }
  return exitCode;
}

async function setUp(wasUp: boolean): Promise<void> {
  if (!wasUp) {
    console.log("On a new machine this builds Kubernetes and an image first: about half an hour.");
  }
  await story.step("Kubernetes: a control plane, an S3 server, two nodes", async () => {
    await ensurePackages(["build", "vm", "disk", "kubernetes", "cluster"]);
    await bringUp({ nodes: 2, kernel: "7.2", memoryMiB: 4096, chart: false });
    const nodes = await kubectl(["get", "nodes", "--no-headers"]);
    show(nodes);
    mustEqual(nodes.match(/ Ready /gu)?.length ?? 0, 2, "nodes that are Ready");
    return { found: "two nodes are Ready" };
  });
  await story.step("Weir, by its Helm chart", async () => {
    console.log(`   $ helm install weir charts/weir --set 'store.url=${storeUrl}' ...`);
    await installWeir();
    await untilInstalled(READY_MS);
    const pods = await kubectl(["get", "pods", "--namespace=weir-system", "--no-headers"]);
    show(pods);
    return { found: "operator and node services are ready, the store passed its probe" };
  });
}

async function tellStory(scene: Scene): Promise<void> {
  const first = await write(scene);
  const early = await upload(scene);
  await snapshot(scene, first);
  await restore(scene, first);
  await grow(scene);
  await move(scene);
  await story.step("Look at what lies in the bucket", async () => {
    const now = bucketObjects(bucket);
    for (const [path, state] of early) mustEqual(now.get(path) ?? "gone", state, path);
    showBucket(bucket, now.keys());
    return { found: `${now.size} objects; of the first ${early.size} none was changed since` };
  });
  await leave(scene);
}

async function write(scene: Scene): Promise<string> {
  const { sum } = await story.step("A claim, a pod, 32 MiB written", async () => {
    say("kubectl apply: PersistentVolumeClaim data (64Mi, weir-local), Pod writer on worker-1");
    await scene.apply(
      claim({ name: "data", storageClass: CLASS, size: "64Mi" }),
      podWithClaim({ name: "writer", claim: "data", node: "worker-1" }),
    );
    await scene.untilReady("writer");
    const written = await fill(scene, "writer", 32);
    show(await kubectl(["get", "pvc", `--namespace=${scene.namespace}`, "--no-headers"]));
    mustEqual(await sumOf(scene, "writer"), written, "SHA-256 in the pod");
    return { sum: written, found: `SHA-256 ${written.slice(0, 16)}..., read back in the pod` };
  });
  return sum;
}

/** Every object of the volume that is in the bucket then. */
async function upload(scene: Scene): Promise<ReadonlyMap<string, string>> {
  const { objects } = await story.step("The data flows to the bucket by itself", async () => {
    const uid = await eventually("nothing dirty", async () => {
      const [volume] = await volumesOf(scene);
      // Nothing reported yet is not nothing dirty.
      return volume?.status.dirtyBytes === 0 ? volume.status.uid : undefined;
    });
    const objects = await eventually("the segments", async () => {
      const found = objectsOf([uid]);
      return bytesOf(found) >= 32 * MIB ? found : undefined;
    });
    show(await kubectl(["get", VOLUMES]));
    const mib = (bytesOf(objects) / MIB).toFixed(1);
    return { objects, found: `${objects.size} objects, ${mib} MiB; dirty: 0 bytes` };
  });
  return objects;
}

async function snapshot(scene: Scene, original: string): Promise<void> {
  await story.step("A snapshot; then the file is overwritten", async () => {
    say("kubectl apply: VolumeSnapshot monday");
    await scene.apply(volumeSnapshot({ name: "monday", claim: "data" }));
    await eventually("the snapshot", async () => {
      const { status } = await scene.get(snapshotState, "volumesnapshot", "monday");
      return status?.readyToUse === true ? true : undefined;
    });
    const later = await fill(scene, "writer", 16);
    must(later !== original, "the file holds other bytes now");
    return { found: "readyToUse; the volume holds other bytes now" };
  });
}

async function restore(scene: Scene, original: string): Promise<void> {
  await story.step("The snapshot in a second claim", async () => {
    say("kubectl apply: PersistentVolumeClaim copy (dataSource: monday), Pod reader");
    await scene.apply(
      claim({
        ...{ name: "copy", storageClass: CLASS, size: "64Mi" },
        from: { kind: "VolumeSnapshot", name: "monday" },
      }),
      podWithClaim({ name: "reader", claim: "copy" }),
    );
    await scene.untilReady("reader");
    mustEqual(await sumOf(scene, "reader"), original, "SHA-256 of the restored file");
    return { found: "the restored file has the first SHA-256" };
  });
}

async function grow(scene: Scene): Promise<void> {
  await story.step("The claim grows while the pod uses it", async () => {
    const before = await sumOf(scene, "writer");
    say("kubectl apply: PersistentVolumeClaim data (256Mi)");
    await scene.apply(claim({ name: "data", storageClass: CLASS, size: "256Mi" }));
    const mib = await eventually("a larger file system", async () => {
      const kib = Number(await scene.run("writer", "df -k /data | awk 'END { print $2 }'"));
      return kib > 200 * 1024 ? Math.floor(kib / 1024) : undefined;
    });
    mustEqual(await sumOf(scene, "writer"), before, "SHA-256 after it grew");
    return { found: `the file system has ${mib} MiB, the file is the same` };
  });
}

async function move(scene: Scene): Promise<void> {
  await story.step("The pod moves to the other node", async () => {
    const before = await sumOf(scene, "writer");
    say("kubectl delete pod writer; kubectl apply: Pod moved on worker-2");
    await scene.delete("pod", "writer");
    await scene.apply(podWithClaim({ name: "moved", claim: "data", node: "worker-2" }));
    await scene.untilReady("moved");
    mustEqual(await sumOf(scene, "moved"), before, "SHA-256 on the other node");
    const nodes = (await volumesOf(scene)).map(({ status }) => status.node);
    must(nodes.includes("worker-2"), "the Volume's status names worker-2");
    return { found: "the same SHA-256 on worker-2" };
  });
}

async function leave(scene: Scene): Promise<void> {
  await story.step("The claims are deleted, and their data with them", async () => {
    say("kubectl delete pod,volumesnapshot,pvc --all");
    const uids = (await volumesOf(scene)).map(({ status }) => status.uid);
    const before = objectsOf(uids).size;
    for (const kind of ["pod", "volumesnapshot", "pvc"]) await scene.delete(kind, "--all");
    await eventually("the Volumes are gone", async () =>
      (await volumesOf(scene)).length === 0 ? true : undefined,
    );
    mustEqual(objectsOf(uids).size, 0, "objects of theirs left in the bucket");
    return { found: `${uids.length} Volumes and their ${before} objects are gone` };
  });
}

/** New bytes, made beside the volume and copied to it; their SHA-256. */
async function fill(scene: Scene, pod: string, sizeMib: number): Promise<string> {
  say(`kubectl exec ${pod}: dd if=${sizeMib} MiB of chance of=${FILE} conv=fsync`);
  await scene.run(
    pod,
    `dd if=/dev/urandom of=/tmp/file bs=1M count=${sizeMib} 2>/dev/null
     dd if=/tmp/file of=${FILE} bs=1M conv=fsync 2>/dev/null`,
  );
  return await sumOf(scene, pod, "/tmp/file");
}

async function sumOf(scene: Scene, pod: string, file = FILE): Promise<string> {
  const output = await scene.run(pod, `sha256sum <${file}`);
  return output.trim().split(" ")[0] ?? "";
}

/** Of these volumes, in the bucket. */
function objectsOf(uids: readonly string[]): ReadonlyMap<string, string> {
  const all = [...bucketObjects(bucket)];
  return new Map(all.filter(([path]) => uids.some((uid) => path.includes(`/volumes/${uid}/`))));
}

async function volumesOf(scene: Scene): Promise<z.infer<typeof volumeList>["items"]> {
  const selector = `--selector=weir.storage/pvc-namespace=${scene.namespace}`;
  return (await scene.get(volumeList, VOLUMES, selector)).items;
}

function bytesOf(objects: ReadonlyMap<string, string>): number {
  let bytes = 0;
  for (const state of objects.values()) bytes += Number(/ (\d+) bytes/u.exec(state)?.[1] ?? 0);
  return bytes;
}

function say(command: string): void {
  console.log(`   $ ${command}`);
}

function show(text: string): void {
  for (const line of text.trim().split("\n")) console.log(`   ${line}`);
}
