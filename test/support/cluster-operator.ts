// An operator of a test's own, in the namespace of its scene: what the chart renders for other
// values, under other names, with only the sidecars that the test needs. The cluster's own
// operator can be sent home meanwhile, since two that believe in different stores would quarrel.
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { kubectl } from "../../hack/cluster/kubectl.ts";
import { stateFolder } from "../../hack/cluster/layout.ts";
import { checkout } from "../../hack/places.ts";
import { outputOf } from "../../hack/program.ts";
import { goTools } from "../../hack/tools/go-tool.ts";
import { eventually, type KubeObject, type Scene } from "./cluster.ts";
import { WEIR, weirPods } from "./cluster-nodes.ts";

const DEPLOYMENT = "deployment/weir-operator";
const PATIENCE = "--timeout=240s";
const patience = { timeoutMs: 260_000 };

const deployment = z.looseObject({
  kind: z.literal("Deployment"),
  spec: z.looseObject({
    template: z.looseObject({
      spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })) }),
    }),
  }),
});
const anyObject = z.looseObject({ kind: z.string() });

/** Applies an operator named after the scene; `values` are the chart's, as for `--set`. */
export async function applyOperator(
  scene: Scene,
  options: {
    readonly values: Readonly<Record<string, string>>;
    /** At least one: a pod has a container besides those that start before it. */
    readonly sidecars: readonly string[];
  },
): Promise<void> {
  const { values, sidecars } = options;
  const tool = await goTools("kubernetes", ["helm"]);
  const rendered = await outputOf([
    ...[tool("helm"), "template", "weir", join(checkout, "charts/weir")],
    ...["--namespace", scene.namespace, "--values", join(stateFolder, "values.json")],
    ...Object.entries(values).flatMap(([name, value]) => ["--set", `${name}=${value}`]),
    ...["rbac", "deployment"].flatMap((file) => ["--show-only", `templates/operator/${file}.yaml`]),
  ]);
  const text = rendered.replaceAll("weir-operator", `operator-${scene.namespace}`);
  // The command keeps its name.
  const commands = text.replaceAll(`[operator-${scene.namespace}]`, "[weir-operator]");
  const documents = parseAllDocuments(commands).map((document) => anyObject.parse(document.toJS()));
  const objects = documents.map((object) => only(sidecars, object));
  const isShared = ({ kind }: KubeObject) => String(kind).startsWith("Cluster");
  await scene.share(...objects.filter((object) => isShared(object)));
  await scene.apply(...objects.filter((object) => !isShared(object)));
}

function only(names: readonly string[], object: z.infer<typeof anyObject>): KubeObject {
  const found = deployment.safeParse(object);
  if (!found.success) return object;
  const { data } = found;
  const { spec } = data.spec.template;
  spec.containers = spec.containers.filter(({ name }) => names.includes(name));
  return data;
}

/** No operator of the cluster's own until this is disposed. */
export async function withoutOperator(): Promise<AsyncDisposable> {
  await kubectl(["scale", WEIR, DEPLOYMENT, "--replicas=0"]);
  await eventually("the operator has gone", async () =>
    (await weirPods("operator")).length === 0 ? true : undefined,
  );
  return {
    async [Symbol.asyncDispose]() {
      await kubectl(["scale", WEIR, DEPLOYMENT, "--replicas=1"]);
      await kubectl(["wait", WEIR, DEPLOYMENT, "--for=condition=Available", PATIENCE], patience);
    },
  };
}
