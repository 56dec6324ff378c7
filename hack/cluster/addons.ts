// What a cluster with volumes needs besides Kubernetes: the snapshot CRDs and controller, and Weir
// by its chart.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "../places.ts";
import { outputOf } from "../program.ts";
import { goTools } from "../tools/go-tool.ts";
import { images } from "./image-names.ts";
import { kubectl } from "./kubectl.ts";
import { adminConfig, s3, stateFolder, storeUrl } from "./layout.ts";

const WEIR_NAMESPACE = "weir-system";

const snapshotKinds = ["volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots"];

/** Their files come with the controller's Go module, in the version that it was built with. */
export async function installSnapshotController(): Promise<void> {
  const [crds, controller] = await Promise.all([
    moduleFolder("github.com/kubernetes-csi/external-snapshotter/client/v8"),
    moduleFolder("github.com/kubernetes-csi/external-snapshotter/v8"),
  ]);
  const deployment = join(stateFolder, "snapshot-controller.json");
  writeFileSync(deployment, JSON.stringify(snapshotController));
  const roles = "deploy/kubernetes/snapshot-controller/rbac-snapshot-controller.yaml";
  const files = [
    ...snapshotKinds.map((kind) => join(crds, `config/crd/snapshot.storage.k8s.io_${kind}.yaml`)),
    join(controller, roles),
    deployment,
  ];
  await kubectl(["apply", "--server-side", ...files.map((file) => `--filename=${file}`)]);
}

/** Installs or upgrades, `set` as helm's --set; does not wait for the pods. */
export async function installWeir(...set: readonly string[]): Promise<void> {
  const values = join(stateFolder, "values.json");
  writeFileSync(values, JSON.stringify(chartValues), { mode: 0o600 });
  const target = ["--namespace", WEIR_NAMESPACE, "--create-namespace", "--values", values];
  const chart = join(checkout, "charts", "weir");
  const changes = set.map((change) => `--set=${change}`);
  await helm(["upgrade", "--install", "weir", chart, ...target, ...changes], 120_000);
}

/** To the release before the last; does not wait for the pods. */
export async function rollWeirBack(): Promise<void> {
  await helm(["rollback", "weir", "--namespace", WEIR_NAMESPACE], 120_000);
}

/** The chart's own test; what helm said of it. Throws when it failed. */
export async function testChart(timeoutMs: number): Promise<string> {
  const patience = `--timeout=${Math.ceil(timeoutMs / 1000)}s`;
  const command = ["test", "weir", "--namespace", WEIR_NAMESPACE, patience];
  return await helm(command, timeoutMs + 10_000);
}

async function helm(args: readonly string[], timeoutMs: number): Promise<string> {
  const tool = await goTools("kubernetes", ["helm"]);
  return await outputOf([tool("helm"), ...args], {
    // Its caches go where `down` finds them.
    env: { KUBECONFIG: adminConfig, HELM_CACHE_HOME: stateFolder, HELM_CONFIG_HOME: stateFolder },
    timeoutMs,
  });
}

/**
 * Waits for everything that was installed. For deployments not by `rollout status`, which gives up
 * on one that took too long even when it is there at last.
 */
export async function untilInstalled(timeoutMs: number): Promise<void> {
  const available = (name: string) => ["wait", "--for=condition=Available", `deployment/${name}`];
  const waits = [
    ["kube-system", available("snapshot-controller")],
    [WEIR_NAMESPACE, ["rollout", "status", "daemonset/weir-node"]],
    [WEIR_NAMESPACE, available("weir-operator")],
  ] as const;
  for (const [namespace, wait] of waits) {
    const limit = `--timeout=${Math.ceil(timeoutMs / 1000)}s`;
    await kubectl(["--namespace", namespace, ...wait, limit], { timeoutMs: timeoutMs + 10_000 });
  }
}

const sidecarImages = {
  provisioner: images["csi-provisioner"],
  attacher: images["csi-attacher"],
  resizer: images["csi-resizer"],
  snapshotter: images["csi-snapshotter"],
};

/** Of a sidecar that ends when it could not renew its Lease for ten seconds unless told. */
const patientElection = [
  "--leader-election-lease-duration=45s",
  "--leader-election-renew-deadline=30s",
  "--leader-election-retry-period=5s",
];

const chartValues = {
  store: {
    url: storeUrl,
    credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
  },
  image: splitReference(images.weir),
  // One is enough to show that it works, and nodes are slow.
  controller: {
    ...{ replicaCount: 1, podDisruptionBudget: { enabled: false } },
    // Emulated, an operator stands still for ten seconds when pods start beside it.
    additionalArgs: ["--leader-election-lease-duration=90"],
    // The sidecars start all at once, and each ends when the operator lets it wait for a second.
    resources: { requests: { cpu: "200m" } },
  },
  sidecars: Object.fromEntries(
    Object.entries(sidecarImages).map(([name, image]) => [
      name,
      { image: splitReference(image), additionalArgs: patientElection },
    ]),
  ),
};

function splitReference(reference: string): { repository: string; tag: string } {
  const [repository = "", tag = ""] = reference.split(":");
  return { repository, tag };
}

const labels = { "app.kubernetes.io/name": "snapshot-controller" };

const snapshotController = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "snapshot-controller", namespace: "kube-system" },
  spec: {
    replicas: 1,
    selector: { matchLabels: labels },
    template: {
      metadata: { labels },
      spec: {
        serviceAccountName: "snapshot-controller",
        containers: [
          {
            name: "snapshot-controller",
            image: images["snapshot-controller"],
            args: ["--v=2", "--leader-election=false"],
          },
        ],
      },
    },
  },
};

async function moduleFolder(path: string): Promise<string> {
  const cwd = join(checkout, "hack/tools/kubernetes");
  await outputOf(["go", "mod", "download", path], { cwd, timeoutMs: 300_000 });
  return (await outputOf(["go", "list", "-m", "-f", "{{.Dir}}", path], { cwd })).trim();
}
