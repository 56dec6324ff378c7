// Goal: what the chart renders, an API server takes as it is, whatever values are set; and a value
// that is wrong is refused with its name. Method: helm lints and renders; a real API server checks
// every object, strictly, without keeping it.
import { mkdtempDisposableSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { checkout } from "../../hack/places.ts";
import { outputOf } from "../../hack/program.ts";
import { goTools } from "../../hack/tools/go-tool.ts";
import { startKubeApiServer, type KubeApiServer } from "../support/kube-apiserver.ts";

const NAMESPACE = "weir-system";
const chart = join(checkout, "charts", "weir");
const required = {
  store: { url: "s3://bucket/prefix?region=eu-central-1" },
  sidecars: { registry: "registry.example" },
};
const anObject = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});

let server: KubeApiServer;
let helm: string;
let folder: ReturnType<typeof mkdtempDisposableSync>;
let kubectl: (...args: readonly string[]) => Promise<string>;

beforeAll(async () => {
  const tool = await goTools("kubernetes", ["helm", "kubectl"]);
  helm = tool("helm");
  server = await startKubeApiServer();
  folder = mkdtempDisposableSync(join(tmpdir(), "weir-chart-"));
  const config = join(folder.path, "kubeconfig.json");
  writeFileSync(config, server.kubeconfig());
  kubectl = (...args) => outputOf([tool("kubectl"), `--kubeconfig=${config}`, ...args]);
  await kubectl("create", "namespace", NAMESPACE);
}, 900_000);

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  folder?.[Symbol.dispose]();
});

async function runHelm(command: "lint" | "template", values: object): Promise<string> {
  const file = join(folder.path, "values.json");
  writeFileSync(file, JSON.stringify(values));
  const place = command === "lint" ? ["--strict"] : ["weir", "--namespace", NAMESPACE];
  const release = command === "lint" ? [chart] : [chart, "--no-hooks"];
  return await outputOf([helm, command, ...place, ...release, "--values", file]);
}

const variants: readonly { readonly name: string; readonly values: object }[] = [
  { name: "only what is required", values: {} },
  {
    name: "a Secret by the chart, and pods' labels",
    values: {
      store: { ...required.store, credentials: { accessKeyId: "a", secretAccessKey: "b" } },
      customLabels: { team: "storage" },
      controller: { podLabels: { a: "b" }, podAnnotations: { c: "d" } },
    },
  },
  {
    name: "a node with SELinux, the host's network, another kubelet",
    values: {
      node: { selinux: true, kubeletPath: "/var/lib/k0s/kubelet", modprobe: false },
      controller: { hostNetwork: true, replicaCount: 1, podDisruptionBudget: { enabled: false } },
      imagePullSecrets: [{ name: "pull" }],
    },
  },
  {
    name: "no extras",
    values: {
      crds: { install: false },
      uninstallGuard: { enabled: false },
      helmTester: { enabled: false },
      storageClasses: [],
      volumeSnapshotClasses: [],
    },
  },
];

test.each(variants)("lints, renders and is accepted: $name", async ({ values }) => {
  const all = { ...required, ...values };
  expect(await runHelm("lint", all)).toContain("0 chart(s) failed");
  const rendered = await runHelm("template", all);
  const objects = parseAllDocuments(rendered)
    .map((document): unknown => document.toJS())
    .filter((object) => object !== null)
    .map((object) => anObject.parse(object));
  expect(objects.map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(["Deployment", "DaemonSet", "CSIDriver", "ClusterRole"]),
  );
  const file = join(folder.path, "rendered.yaml");
  writeFileSync(file, rendered);
  const strictly = ["--dry-run=server", "--validate=strict", "--server-side"];
  const accepted = await kubectl("apply", ...strictly, `--filename=${file}`);
  expect(accepted).not.toMatch(/warning/iu);
  expect(accepted.match(/serverside-applied \(server dry run\)/gu)).toHaveLength(objects.length);
});

test.each([
  { value: { store: { url: "" } }, says: "store.url is required" },
  { value: { store: { url: "gs://bucket" } }, says: "/store/url" },
  { value: { node: { kubletPath: "/k" } }, says: "kubletPath" },
  { value: { sidecars: { registry: "" } }, says: "sidecars.registry must name" },
])("refused, with its name: $says", async ({ value, says }) => {
  const rendered = runHelm("template", { ...required, ...value });
  await expect(rendered).rejects.toThrow(says);
});
