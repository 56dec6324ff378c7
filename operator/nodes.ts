// Which nodes can be counted on. A node is usable when it is there, ready, and not declared dead
// (the out-of-service taint): what lies on any other may be out of reach for ever.
import { CSI_NODE, NODE, type CsiNode, type Node } from "../core/kube/kinds.ts";
import type { KubeApi } from "../core/kube/kube-api.ts";
import { DRIVER } from "../core/csi/driver.ts";

const OUT_OF_SERVICE = "node.kubernetes.io/out-of-service";
/** Nodes looked at before the search is put off. */
const CANDIDATES_MAX = 8;

/** What a copy of the CSINodes offers: a Reflector. */
export interface CsiNodes {
  items(): readonly CsiNode[];
}

export function isUsable(node: Node | undefined): boolean {
  if (node === undefined) return false;
  const isReady = node.status?.conditions?.some(
    ({ type, status }) => type === "Ready" && status === "True",
  );
  const isOut = node.spec?.taints?.some(({ key }) => key === OUT_OF_SERVICE) ?? false;
  return isReady === true && !isOut;
}

export async function isUsableNode(
  api: KubeApi,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  return isUsable(await api.get(NODE, { name }, { signal }));
}

/**
 * A usable node that runs the driver; `seed` (hex digits) spreads the work over the nodes.
 * Undefined: none was found.
 */
export async function chooseNode(options: {
  readonly api: KubeApi;
  readonly csiNodes: CsiNodes;
  readonly seed: string;
  readonly signal: AbortSignal;
}): Promise<string | undefined> {
  const { api, csiNodes, seed, signal } = options;
  const names = csiNodes
    .items()
    .filter(({ spec }) => spec.drivers?.some(({ name }) => name === DRIVER) ?? false)
    .map(({ metadata }) => metadata.name)
    .toSorted();
  const first = names.length === 0 ? 0 : Number.parseInt(seed.slice(0, 8), 16) % names.length;
  const candidates = [...names.slice(first), ...names.slice(0, first)].slice(0, CANDIDATES_MAX);
  for (const name of candidates) {
    if (await isUsableNode(api, name, signal)) return name;
  }
  return undefined;
}

/** Whether Kubernetes knows the node at all. */
export async function nodeExists(
  api: KubeApi,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  if ((await api.get(NODE, { name }, { signal })) !== undefined) return true;
  return (await api.get(CSI_NODE, { name }, { signal })) !== undefined;
}
