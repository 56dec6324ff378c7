// The whole cluster: brings up what is missing, step by step, and takes it all down again.
import { mkdirSync, rmSync } from "node:fs";
import type { KernelName } from "../vm/kernels.ts";
import { installSnapshotController, installWeir, untilInstalled } from "./addons.ts";
import { startControlPlane } from "./control-plane.ts";
import { daemonNames, daemonPid, endDaemon, until } from "./daemons.ts";
import { bootId, startGuest } from "./guest.ts";
import { imageStore } from "./image-store.ts";
import { imageArchives } from "./images.ts";
import { kubectl } from "./kubectl.ts";
import { clusterNodes, stateFolder, type ClusterNode } from "./layout.ts";
import { raiseNetwork, removeNetwork } from "./network.ts";

export interface ClusterOptions {
  readonly nodes: number;
  readonly kernel: KernelName;
  readonly memoryMiB: number;
  readonly chart: boolean;
}

const READY_TIMEOUT_MS = 300_000;

export async function bringUp(options: ClusterOptions): Promise<void> {
  const nodes = clusterNodes(options.nodes);
  const store = await step("images", async () => imageStore(await imageArchives()));
  mkdirSync(stateFolder, { recursive: true });
  await step("network", () => raiseNetwork(nodes));
  await step("control plane", startControlPlane);
  await step("guests", async () => {
    for (const node of nodes) {
      await startGuest(node, { ...options, cpus: 2, imageStore: store });
    }
  });
  await step("snapshot controller", installSnapshotController);
  if (options.chart) await step("chart", installWeir);
  await step("nodes ready", () => untilReady(nodes));
  if (options.chart) await step("pods ready", () => untilInstalled(READY_TIMEOUT_MS));
}

/** Ends every process and removes network, data and credentials; the cache of builds stays. */
export async function forgetCluster(): Promise<void> {
  // Guests first, and without a word: nothing of them is kept.
  const names = daemonNames().toSorted((a, b) => order(a) - order(b));
  for (const name of names) {
    await endDaemon(name, order(name) === 0 ? "SIGKILL" : "SIGTERM");
  }
  await removeNetwork();
  rmSync(stateFolder, { recursive: true, force: true });
}

function order(name: string): number {
  if (name.startsWith("worker-")) return 0;
  return name === "etcd" ? 2 : 1;
}

/** Ready in this boot: after a reboot, what the node said before stands for a while. */
async function untilReady(nodes: readonly ClusterNode[]): Promise<void> {
  const condition = '{.status.conditions[?(@.type=="Ready")].status}';
  const format = `{range .items[*]}{.status.nodeInfo.bootID}=${condition} {end}`;
  const ready = async () => {
    const ended = nodes.find(({ name }) => daemonPid(name) === undefined);
    if (ended !== undefined) throw new Error(`The guest ${ended.name} ended.`);
    const found = (await kubectl(["get", "nodes", "-o", `jsonpath=${format}`])).split(" ");
    return nodes.every((node) => found.includes(`${bootId(node)}=True`));
  };
  if (!(await until(ready, READY_TIMEOUT_MS))) {
    throw new Error(`The nodes are not Ready: see ${stateFolder}/nodes/*/share/*.log.`);
  }
}

async function step<T>(name: string, act: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await act();
  console.error(`${name}: ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
  return result;
}
