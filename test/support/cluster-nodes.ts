// The nodes of the cluster as tests see them: what of Weir lies on one, ending a program on it as
// the kernel would, switching it off and on again.
import { z } from "zod";
import { daemonPid } from "../../hack/cluster/daemons.ts";
import { bootId, killGuest, restartGuest } from "../../hack/cluster/guest.ts";
import { kubectl } from "../../hack/cluster/kubectl.ts";
import { clusterNodes, NODES_MAX, type ClusterNode } from "../../hack/cluster/layout.ts";
import { runOnNode } from "../../hack/cluster/node-shell.ts";
import { eventually } from "./cluster.ts";

const SCRIPT_MS = 120_000;
const CLOCKS_DIFFER_MS = 2_000;
export const WEIR = "--namespace=weir-system";

const containerStatuses = z
  .array(
    z.object({
      name: z.string(),
      restartCount: z.number(),
      ready: z.boolean(),
      state: z.object({ running: z.object({ startedAt: z.string() }).optional() }),
    }),
  )
  .default([]);

const podList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string(), uid: z.string() }),
      spec: z.object({ nodeName: z.string().optional() }),
      status: z.object({
        conditions: z.array(z.object({ type: z.string(), status: z.string() })).optional(),
        containerStatuses,
        // Also those that run on beside the others.
        initContainerStatuses: containerStatuses,
      }),
    }),
  ),
});
type WeirPod = z.infer<typeof podList>["items"][number];

const nodeObject = z.object({
  spec: z.object({ taints: z.array(z.object({ key: z.string() })).optional() }),
  status: z.object({
    nodeInfo: z.object({ bootID: z.string() }),
    conditions: z.array(z.object({ type: z.string(), status: z.string() })),
  }),
});

/** The programs of Weir on a node, by what `ps` shows of them. */
const PROGRAMS = {
  operator: { component: "operator", container: "operator", pattern: "/opt/weir/operator/main.ts" },
  "csi-node": { component: "node", container: "csi-node", pattern: "/opt/weir/csi-node/csi/main" },
  engine: {
    component: "node",
    container: "engine",
    pattern: "/opt/weir/csi-node/cli/main.ts serve",
  },
} as const;
export type Program = keyof typeof PROGRAMS;

export function nodeByName(name: string): ClusterNode {
  const node = clusterNodes(NODES_MAX).find((one) => one.name === name);
  if (node === undefined) throw new Error(`There is no node ${name}.`);
  return node;
}

export async function nodeNames(): Promise<readonly string[]> {
  const text = await kubectl(["get", "nodes", "--output=jsonpath={.items[*].metadata.name}"]);
  return text.split(" ");
}

/** Pods of one component of Weir, `node` or `operator`. */
export async function weirPods(component: string): Promise<readonly WeirPod[]> {
  const selector = `--selector=app.kubernetes.io/component=${component}`;
  const text = await kubectl(["get", "pods", WEIR, selector, "--output=json"]);
  return podList.parse(JSON.parse(text)).items;
}

/** Where the operator runs, and a node where it does not. */
export async function operatorPlaces(): Promise<{
  readonly with: string;
  readonly without: string;
}> {
  const [pod] = await weirPods("operator");
  const home = pod?.spec.nodeName;
  const other = (await nodeNames()).find((name) => name !== home);
  if (home === undefined || other === undefined) throw new Error("It takes two nodes.");
  return { with: home, without: other };
}

/** Output of a script that must work, run as root on the node. */
export async function onNode(name: string, script: string): Promise<string> {
  const end = await runOnNode(nodeByName(name), { script, timeoutMs: SCRIPT_MS });
  if (end.exitCode !== 0) throw new Error(`A script on ${name} failed:\n${end.output}`);
  return end.output.trim();
}

/**
 * Ends a program of Weir on a node as by `kill -9`, or stops it for kubelet to end; waits until it
 * runs and is ready again.
 */
export async function killProgram(
  node: string,
  program: Program,
  signal: "KILL" | "STOP" = "KILL",
): Promise<void> {
  const before = await containerOf(node, program);
  await killNow(node, program, signal);
  await eventually(`${program} on ${node} is back`, async () => {
    const now = await containerOf(node, program);
    const isBack = now.ready && now.restartCount > before.restartCount;
    return isBack || now.uid !== before.uid ? true : undefined;
  });
}

export async function killNow(
  node: string,
  program: Program,
  signal: "KILL" | "STOP" = "KILL",
): Promise<void> {
  const { pattern } = PROGRAMS[program];
  await onNode(node, `kill -${signal} $(pgrep --full '^/usr/local/bin/node ${pattern}')`);
}

export function containersOf({ status }: WeirPod) {
  return [...status.initContainerStatuses, ...status.containerStatuses];
}

async function containerOf(node: string, program: Program) {
  const { component, container } = PROGRAMS[program];
  const pod = (await weirPods(component)).find(({ spec }) => spec.nodeName === node);
  const found =
    pod === undefined ? undefined : containersOf(pod).find(({ name }) => name === container);
  if (pod === undefined || found === undefined) throw new Error(`No ${program} is on ${node}.`);
  return { ...found, uid: pod.metadata.uid };
}

/** I/O errors that the kernel of a node has logged since it booted. */
export async function ioErrors(node: string): Promise<number> {
  return Number(await onNode(node, "dmesg | grep -ci 'i/o error' || true"));
}

/** Runs `weir` in the engine's container of a node. */
export async function weirOn(node: string, ...args: readonly string[]): Promise<string> {
  const pod = (await weirPods("node")).find(({ spec }) => spec.nodeName === node);
  if (pod === undefined) throw new Error(`No engine is on ${node}.`);
  const into = ["exec", WEIR, pod.metadata.name, "--container=engine", "--", "weir"];
  return kubectl([...into, ...args], { timeoutMs: SCRIPT_MS });
}

/** Devices, mounts and attachment records of Weir that are on a node. */
async function traces(node: string): Promise<readonly string[]> {
  const script = `
    shopt -s nullglob
    printf '%s\\n' /dev/ublkb* /var/lib/weir/attached/*
    awk '$2 ~ "/csi.weir.storage/|/volumeDevices/" { print $2 }' /proc/self/mounts`;
  return (await onNode(node, script)).split("\n").filter((line) => line !== "");
}

/** Waits until nothing of Weir is on any node but what was there before. */
export async function untilTracesGone(
  before: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
  for (const [node, known] of before) {
    let left: readonly string[] = [];
    await eventually(`nothing is left on ${node}`, async () => {
      left = (await traces(node)).filter((trace) => !known.includes(trace));
      return left.length === 0 ? true : undefined;
    }).catch((cause: unknown) => {
      throw new Error(`On ${node} is left: ${left.join(" ")}`, { cause });
    });
  }
}

export async function allTraces(): Promise<ReadonlyMap<string, readonly string[]>> {
  const entries: [string, readonly string[]][] = [];
  for (const node of await nodeNames()) entries.push([node, await traces(node)]);
  return new Map(entries);
}

/** Off without a word, and the API server has noticed. */
export async function loseNode(name: string): Promise<void> {
  await killGuest(nodeByName(name));
  await eventually(`${name} is not ready`, async () => {
    const { status } = await look(name);
    const ready = status.conditions.find(({ type }) => type === "Ready");
    return ready?.status === "True" ? undefined : true;
  });
}

/** On again, with Weir's pods ready; at once when it is on already. */
export async function regainNode(name: string): Promise<void> {
  const node = nodeByName(name);
  // Of earlier boots, kubelet and API server know things that are not true any more.
  const sinceMs = daemonPid(name) === undefined ? Date.now() - CLOCKS_DIFFER_MS : 0;
  await restartGuest(node);
  await eventually(`${name} is ready`, async () => {
    const { status } = await look(name);
    const ready = status.conditions.find(({ type }) => type === "Ready");
    return ready?.status === "True" && status.nodeInfo.bootID === bootId(node) ? true : undefined;
  });
  await eventually(`Weir on ${name} is ready`, async () => {
    const pods = await weirPods("node");
    const here = pods.find(({ spec }) => spec.nodeName === name)?.status;
    const ready = here?.conditions?.find(({ type }) => type === "Ready");
    const isNew = here?.containerStatuses.every(
      ({ state }) => Date.parse(state.running?.startedAt ?? "1970-01-01") >= sinceMs,
    );
    return ready?.status === "True" && isNew === true ? true : undefined;
  });
}

async function look(name: string): Promise<z.infer<typeof nodeObject>> {
  return nodeObject.parse(JSON.parse(await kubectl(["get", "node", name, "--output=json"])));
}
