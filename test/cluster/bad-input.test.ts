// Goal: whoever asks for what cannot be learns why from `kubectl describe` alone: the gRPC code and
// a sentence that says what to do, in an event on the claim, and in a condition where there is an
// object. Method: each mistake is made as a user or administrator would make it; what describe
// tells is printed and searched for the sentence. Nothing that is refused leaves an object.
import { mkdtempDisposableSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import S3rver from "s3rver";
import { expect, test } from "vitest";
import { z } from "zod";
import { UPLINK } from "../../hack/cluster/layout.ts";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { killNow, onNode, operatorPlaces } from "../support/cluster-nodes.ts";
import { claim, podWithClaim, storageClass, volumeSnapshot } from "../support/cluster-objects.ts";
import { applyOperator, withoutOperator } from "../support/cluster-operator.ts";

const VOLUMES = "volumes.weir.storage";
const api = { apiVersion: "weir.storage/v1alpha1" };

/** What `kubectl describe` tells when it tells all of it; printed, too. */
async function described(
  scene: Scene,
  what: readonly [kind: string, name: string],
  words: readonly RegExp[],
): Promise<string> {
  const tells = await eventually(`${what.join(" ")} tells why`, async () => {
    const text = await scene.describe(...what);
    return words.every((word) => word.test(text)) ? text : undefined;
  }).catch(async (cause: unknown) => {
    throw new Error(`Not told:\n${await scene.describe(...what)}`, { cause });
  });
  console.log(`$ kubectl describe ${what.join(" ")}\n${tells}`);
  return tells;
}

/** What only a programmer can use. */
const NOISE = /undefined|\[object|\.ts:\d/u;

const anyList = z.object({ items: z.array(z.unknown()) });

/** Volumes made for claims of the scene. */
async function volumesOf(scene: Scene): Promise<readonly unknown[]> {
  const selector = `--selector=weir.storage/pvc-namespace=${scene.namespace}`;
  return (await scene.get(anyList, VOLUMES, selector)).items;
}

test("a StorageClass with a parameter that does not exist", async () => {
  await using scene = await startScene();
  const name = `misspelt-${scene.namespace}`;
  await scene.share(storageClass({ name, parameters: { durabilty: "s3" } }));
  await scene.apply(claim({ name: "data", storageClass: name, size: "64Mi" }));
  expect(
    await described(
      scene,
      ["pvc", "data"],
      [
        /ProvisioningFailed.*code = InvalidArgument/u,
        /ParameterUnknown.*unknown parameter "durabilty": there are durability and maxDirtyAge/u,
      ],
    ),
  ).not.toMatch(NOISE);
  expect(await volumesOf(scene)).toEqual([]);
});

test("a size beyond all bounds", async () => {
  await using scene = await startScene();
  const name = `huge-${scene.namespace}`;
  await scene.share(storageClass({ name, parameters: {} }));
  await scene.apply(claim({ name: "data", storageClass: name, size: "1Pi" }));
  expect(
    await described(
      scene,
      ["pvc", "data"],
      [/ProvisioningFailed.*code = OutOfRange/u, /SizeInvalid.*64 ?Ti/u],
    ),
  ).not.toMatch(NOISE);
  expect(await volumesOf(scene)).toEqual([]);
  const byHand = { ...api, kind: "Volume", metadata: { name }, spec: { size: "1Pi" } };
  await expect(scene.apply(byHand)).rejects.toThrow(/size.*64 ?Ti/u);
});

test("a Volume whose source does not exist", async () => {
  await using scene = await startScene();
  const name = `orphan-${scene.namespace}`;
  const spec = { size: "64Mi", source: { snapshot: "nowhere" } };
  await scene.share({ ...api, kind: "Volume", metadata: { name }, spec });
  expect(
    await described(
      scene,
      [VOLUMES, name],
      [/the Snapshot "nowhere" of the source does not exist: create it first/u, /NotFound/u],
    ),
  ).not.toMatch(NOISE);
});

test("what belongs to another namespace", async () => {
  await using owner = await startScene();
  await using thief = await startScene();
  const name = `mine-${owner.namespace}`;
  const claimRef = { namespace: owner.namespace, name: "data" };
  const persistentVolume = { storageClassName: "by-hand", claimRef };
  await owner.share({
    ...api,
    kind: "Volume",
    metadata: { name },
    spec: { size: "64Mi", persistentVolume },
  });
  await owner.apply(claim({ name: "data", storageClass: "by-hand", size: "64Mi" }));
  await owner.apply(volumeSnapshot({ name: "cut", claim: "data" }));
  const stolen = claim({ name: "volume", storageClass: "by-hand", size: "64Mi" });
  await thief.apply({
    ...stolen,
    spec: { ...z.record(z.string(), z.unknown()).parse(stolen["spec"]), volumeName: name },
  });
  expect(
    await described(thief, ["pvc", "volume"], [/already bound to a different claim/u]),
  ).not.toMatch(NOISE);

  const className = `now-${thief.namespace}`;
  await thief.share(storageClass({ name: className, parameters: {} }));
  const from = { kind: "VolumeSnapshot", name: "cut" } as const;
  await thief.apply(claim({ name: "cut", storageClass: className, size: "64Mi", from }));
  expect(
    await described(thief, ["pvc", "cut"], [/ProvisioningFailed.*"cut" not found/u]),
  ).not.toMatch(NOISE);
  expect(await volumesOf(thief)).toEqual([]);
  // A PersistentVolume made by hand goes by hand, before its Volume.
  await owner.delete("volumesnapshot,pvc", "--all");
  await owner.delete("pv", name);
});

test("a store whose Secret is missing", async () => {
  await using scene = await startScene();
  await applyOperator(scene, {
    values: { "store.existingSecret": "nobody-made-it", "store.credentials.accessKeyId": "" },
    sidecars: ["csi-provisioner"],
  });
  const name = await eventually("the operator's pod", async () => {
    const { items } = await scene.get(podNames, "pods");
    return items[0]?.metadata.name;
  });
  expect(
    await described(scene, ["pod", name], [/Failed.*secret "nobody-made-it" not found/u]),
  ).not.toMatch(NOISE);
});

const podNames = z.object({
  items: z.array(z.object({ metadata: z.object({ name: z.string() }) })),
});

const volumeState = z.object({ status: z.object({ phase: z.string() }) });

test("a store without conditional writes", async () => {
  using folder = mkdtempDisposableSync(join(tmpdir(), "weir-s3rver-"));
  const server = new S3rver({
    ...{ address: UPLINK.outsideAddress, port: 0, directory: folder.path, silent: true },
    configureBuckets: [{ name: "weir" }],
  });
  const { port } = await server.run();
  await using scene = await startScene();
  await using cleaning = new AsyncDisposableStack();
  cleaning.defer(() => server.close());
  cleaning.use(await withoutOperator());
  const endpoint = `http://${UPLINK.outsideAddress}:${port}`;
  await applyOperator(scene, {
    values: {
      "store.url": `s3://weir/unsafe?endpoint=${endpoint}&insecure=true&region=us-east-1`,
      "store.credentials.accessKeyId": "S3RVER",
      "store.credentials.secretAccessKey": "S3RVER",
      "store.existingSecret": "store",
    },
    sidecars: ["csi-provisioner"],
  });
  const keys = { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" };
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "store" } };
  await scene.apply({ ...secret, stringData: keys });
  const name = `unsafe-${scene.namespace}`;
  await scene.share(storageClass({ name, parameters: {} }));
  await scene.apply(claim({ name: "data", storageClass: name, size: "64Mi" }));
  const sentence = "the object store must not be used: it ignores If-None-Match";
  expect(
    await described(
      scene,
      ["pvc", "data"],
      [
        new RegExp(`ProvisioningFailed.*code = FailedPrecondition desc = ${sentence}`, "u"),
        new RegExp(`BackendUnsafe.*${sentence}`, "u"),
      ],
    ),
  ).not.toMatch(NOISE);
  await scene.share({ ...api, kind: "Volume", metadata: { name }, spec: { size: "64Mi" } });
  expect(
    await described(scene, [VOLUMES, name], [/BackendUnsafe/u, new RegExp(sentence, "u")]),
  ).not.toMatch(NOISE);
  // With a store that is safe, everything that was asked for comes true.
  await scene.delete("deployment", "--all", "--cascade=foreground");
  await cleaning.disposeAsync();
  await eventually("the Volume is ready", async () =>
    (await scene.get(volumeState, VOLUMES, name)).status.phase === "Ready" ? true : undefined,
  );
});

const bound = z.object({ spec: z.object({ volumeName: z.string() }) });

test("a node without the ublk module", async () => {
  const { without: node } = await operatorPlaces();
  await using scene = await startScene();
  await using cleaning = new AsyncDisposableStack();
  cleaning.defer(async () => {
    await onNode(node, "modprobe ublk_drv");
  });
  // The engine has it open, and comes back after a while.
  await killNow(node, "engine");
  await onNode(node, "for try in $(seq 50); do rmmod ublk_drv && exit; sleep 0.1; done; exit 1");
  await scene.apply(
    claim({ name: "data", storageClass: "weir-local", size: "64Mi" }),
    podWithClaim({ name: "user", claim: "data", node }),
  );
  const sentence = /load the ublk_drv kernel module/u;
  expect(
    await described(scene, ["pod", "user"], [/FailedMount.*code = FailedPrecondition/u, sentence]),
  ).not.toMatch(NOISE);
  expect(await described(scene, ["pvc", "data"], [/TransportUnavailable/u, sentence])).not.toMatch(
    NOISE,
  );
  const { volumeName } = (await scene.get(bound, "pvc", "data")).spec;
  expect(
    await described(scene, [VOLUMES, volumeName], [/TransportUnavailable/u, sentence]),
  ).not.toMatch(NOISE);
  // And mended without touching the pod.
  await cleaning.disposeAsync();
  await scene.untilReady("user");
  await scene.run("user", "dd if=/dev/urandom of=/data/file bs=1M count=1 conv=fsync");
});
