// Goal: what the CRDs allow and refuse, with the words that a person reads. Only a real API server
// knows CEL, its cost and the structure it asks for, so this runs on one. Method: a table, applied
// in order; each refusal must carry its reason, so that no rule stands in for another.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ClientKube } from "../../core/kube/client-kube.ts";
import { defineKind, MetadataSchema } from "../../core/kube/kind.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { installCrds } from "../support/install-crds.ts";
import { startKubeApiServer, type KubeApiServer } from "../support/kube-apiserver.ts";

interface CrdCase {
  readonly kind: "Volume" | "Snapshot";
  readonly name: string;
  readonly spec: object;
  /** A part of the refusal; absent: it is accepted. */
  readonly refusal?: string;
}

const longest = "n".repeat(63);
const volume = (name: string, spec: object, refusal?: string): CrdCase => ({
  ...{ kind: "Volume", name, spec },
  ...(refusal === undefined ? {} : { refusal }),
});
const snapshot = (name: string, spec: object, refusal?: string): CrdCase => ({
  ...volume(name, spec, refusal),
  kind: "Snapshot",
});
const sized = (name: string, size: string, refusal?: string) => volume(name, { size }, refusal);
const aged = (maxDirtyAge: string, refusal?: string) =>
  volume("aged", { size: "1Gi", maxDirtyAge }, refusal);

const crdCases: readonly CrdCase[] = [
  sized("grows", "10Gi"),
  sized("grows", "20Gi"),
  sized("grows", "21474836480"),
  sized("grows", "10Gi", "size can only grow"),
  volume("grows", { size: "20Gi", durability: "s3" }, "durability cannot change"),
  volume("grows", { size: "20Gi", source: { snapshot: "s" } }, "source cannot change"),

  ...["4Ki", "1T", "65536Gi", "67108864Mi", "68719476736Ki", "70368744177664", "64Ti"].map(
    (size, index) => sized(`size-${index}`, size),
  ),
  sized("bad", "0", "more than nothing"),
  ...["-1Gi", "1.5Gi", "ten", "1e3", ""].map((size) => sized("bad", size, "spec.size")),
  ...["10G", "4097"].map((size) => sized("bad", size, "multiple of 4096")),
  ...["65Ti", "9999999999999999Ti"].map((size) => sized("bad", size, "64Ti or less")),
  volume("bad", {}, "spec.size"),

  volume("cloned", { size: "1Gi", source: {} }, "either a snapshot or a volume"),
  volume(
    "cloned",
    { size: "1Gi", source: { snapshot: "s", volume: "v" } },
    "either a snapshot or a volume",
  ),
  volume("cloned", { size: "1Gi", source: { volume: "cloned" } }, "clone of itself"),
  volume("cloned", { size: "1Gi", source: { volume: "A/b" } }, "spec.source.volume"),
  volume("cloned", { size: "1Gi", source: { volume: "grows" } }),
  volume("cloned", { size: "1Gi", source: { volume: "other" } }, "source cannot change"),
  volume("cloned", { size: "1Gi" }, "source cannot change"),

  ...["10ms", "5s", "1440m", "24h"].map((age) => aged(age)),
  ...["9ms", "25h", "0s", "5", "1.5s", "999999999h"].map((age) => aged(age, "maxDirtyAge")),

  volume("bad", { size: "1Gi", durability: "none" }, "spec.durability"),
  volume("bad", { size: "1Gi", deletionPolicy: "Keep" }, "spec.deletionPolicy"),
  volume(
    "bad",
    { size: "1Gi", persistentVolume: { accessModes: ["ReadWriteMany"] } },
    "accessModes",
  ),
  volume("published", {
    size: "1Gi",
    persistentVolume: { fsType: "xfs", claimRef: { namespace: "default", name: "claim" } },
  }),
  sized(longest, "1Gi"),
  sized(`${longest}n`, "1Gi", "metadata.name"),
  sized("with.dot", "1Gi", "metadata.name"),

  snapshot("snapshot", { volume: "grows" }),
  snapshot("snapshot", { volume: "grows", deletionPolicy: "Retain" }),
  snapshot("snapshot", { volume: "other" }, "volume cannot change"),
  snapshot("bad", {}, "spec.volume"),
];

const call = { signal: new AbortController().signal };
const anyObject = z.looseObject({ metadata: MetadataSchema });
const weir = { group: "weir.storage", version: "v1alpha1", namespaced: false, schema: anyObject };
const kinds = {
  Volume: defineKind({ ...weir, kind: "Volume", plural: "volumes" }),
  Snapshot: defineKind({ ...weir, kind: "Snapshot", plural: "snapshots" }),
};
let server: KubeApiServer;
let kube: ClientKube;

beforeAll(async () => {
  server = await startKubeApiServer();
  kube = new ClientKube({
    clock: realClock,
    random: realRandom,
    config: server.config(),
    userAgent: "weir-test/1",
    reportingController: "csi.weir.storage",
    reportingInstance: "test",
  });
  await installCrds(kube);
}, 120_000);

afterAll(async () => {
  kube?.[Symbol.dispose]();
  await server?.[Symbol.asyncDispose]();
});

test("the CRDs accept and refuse as the table says", async () => {
  const broken: string[] = [];
  for (const { kind, name, spec, refusal } of crdCases) {
    const object = { metadata: { name }, spec };
    const written = await kube.apply(
      kinds[kind],
      object,
      { fieldManager: "test", force: true },
      call,
    );
    const answer = "message" in written ? written.message : written.kind;
    if (answer.includes(refusal ?? "written")) continue;
    broken.push(`${kind} ${JSON.stringify(object)}: ${answer}; wanted: ${refusal ?? "written"}`);
  }
  expect(crdCases.length).toBeGreaterThan(50);
  expect(broken).toEqual([]);
});
