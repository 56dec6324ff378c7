// What kubelet is to a real weir-csi-node in a guest: starts it, calls it at its socket, one
// connection for each call, and looks at the mounts and devices that come of it.
import type { ServiceError } from "@grpc/grpc-js";
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import {
  NodeExpandVolumeRequest,
  NodePublishVolumeRequest,
  NodeService,
  NodeStageVolumeRequest,
  VolumeCapability,
  VolumeCapability_AccessMode_Mode as Mode,
} from "../../core/csi/generated/csi.ts";
import { parseMountTable } from "../../csi-node/csi/mount-table.ts";
import { RpcClient } from "../support/rpc-client.ts";

const { values } = parseArgs({
  options: {
    kubelet: { type: "string", default: "" },
    "engine-socket": { type: "string", default: "" },
    "engine-pid": { type: "string", default: "" },
  },
});
export const kubelet = values.kubelet;
export const enginePid = Number(values["engine-pid"]);
export const plugin = join(kubelet, "plugins", "csi.weir.storage");
export const registry = join(kubelet, "plugins_registry");
export const MIB = 1024 * 1024;
const HTTP = "127.0.0.1:9809";
const LOG = "/mnt/disk/csi-node.log";

export function startNode(): ChildProcess {
  const output = openSync(LOG, "a");
  const args = [
    ...["csi-node/csi/main.ts", "--node-name", "guest", "--without-kubernetes"],
    ...["--csi-endpoint", `unix://${join(plugin, "csi.sock")}`, "--kubelet-dir", kubelet],
    ...["--registration-dir", registry, "--engine-socket", values["engine-socket"]],
    ...["--http-endpoint", HTTP],
  ];
  const stdio = ["ignore", output, output] as const;
  // A group of its own, which killNode ends as the end of a container does.
  const program = spawn(process.execPath, args, { stdio: [...stdio], detached: true });
  closeSync(output);
  return program;
}

export async function ended(program: ChildProcess): Promise<number | null> {
  if (program.exitCode === null && program.signalCode === null) {
    await new Promise((resolve) => program.once("exit", resolve));
  }
  return program.exitCode;
}

/** With whatever it runs at the moment: mkfs, mount, ... */
export async function killNode(program: ChildProcess): Promise<void> {
  if (program.pid === undefined) throw new Error("the node service does not run");
  process.kill(-program.pid, "SIGKILL");
  await ended(program);
}

export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (let turn = 0; turn < 1200; turn += 1) {
    if (await isTrue()) return;
    await sleep(100);
  }
  throw new Error(`waited in vain: ${what}`);
}

export async function readyStatus(): Promise<number> {
  const response = await fetch(`http://${HTTP}/readyz`).catch(() => undefined);
  return response?.status ?? 0;
}

export function expectSame(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${what}: ${String(found)}, not ${String(wanted)}`);
}

export async function check(name: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
    console.log(`ok ${name}`);
  } catch (cause) {
    console.log(`not ok ${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    console.log(readFileSync(LOG, "utf8").split("\n").slice(-12).join("\n"));
  }
}

interface CallOptions {
  /** Aborting cancels the call. */
  readonly signal?: AbortSignal;
}

export type Send<A> = (client: RpcClient, options: CallOptions) => Promise<A>;

/** A connection of its own for each call, as kubelet does. */
export async function call<A>(send: Send<A>, options: CallOptions = {}): Promise<A> {
  using client = new RpcClient(join(plugin, "csi.sock"));
  return await send(client, options);
}

/** Whether the node service serves its socket. */
export async function answers(): Promise<boolean> {
  try {
    await call((client) => client.call(NodeService.nodeGetInfo, {}));
    return true;
  } catch {
    return false;
  }
}

export function isServiceError(cause: unknown): cause is ServiceError {
  return cause instanceof Error && "code" in cause && typeof cause.code === "number";
}

export interface Use {
  readonly fsType?: string;
  readonly mode?: Mode;
  readonly readonly?: boolean;
}

const capability = ({ fsType, mode = Mode.SINGLE_NODE_MULTI_WRITER }: Use): VolumeCapability =>
  VolumeCapability.fromPartial({
    accessType:
      fsType === undefined
        ? { $case: "block", value: {} }
        : { $case: "mount", value: { fsType, mountFlags: [], volumeMountGroup: "" } },
    accessMode: { mode },
  });

export function staging(volumeId: string): string {
  return join(kubelet, "staging", volumeId, "globalmount");
}

export function target(volumeId: string, pod: string): string {
  return join(kubelet, "pods", pod, volumeId);
}

export function stage(volumeId: string, use: Use): Send<unknown> {
  const request = NodeStageVolumeRequest.fromPartial({
    volumeId,
    stagingTargetPath: staging(volumeId),
    volumeCapability: capability(use),
    volumeContext: { "weir.storage/maxDirtyAge": "500ms" },
  });
  return (client, options) => client.call(NodeService.nodeStageVolume, request, options);
}

export function unstage(volumeId: string): Send<unknown> {
  const request = { volumeId, stagingTargetPath: staging(volumeId) };
  return (client, options) => client.call(NodeService.nodeUnstageVolume, request, options);
}

export function publish(volumeId: string, pod: string, use: Use): Send<unknown> {
  const request = NodePublishVolumeRequest.fromPartial({
    volumeId,
    stagingTargetPath: staging(volumeId),
    targetPath: target(volumeId, pod),
    volumeCapability: capability(use),
    readonly: use.readonly ?? false,
  });
  return (client, options) => client.call(NodeService.nodePublishVolume, request, options);
}

export function unpublish(volumeId: string, pod: string): Send<unknown> {
  const request = { volumeId, targetPath: target(volumeId, pod) };
  return (client, options) => client.call(NodeService.nodeUnpublishVolume, request, options);
}

export function expand(
  volumeId: string,
  volumePath: string,
  sizeBytes: number,
): Send<{ readonly capacityBytes: bigint }> {
  const request = NodeExpandVolumeRequest.fromPartial({
    volumeId,
    volumePath,
    capacityRange: { requiredBytes: BigInt(sizeBytes) },
  });
  return (client, options) => client.call(NodeService.nodeExpandVolume, request, options);
}

/** How many mounts lie there, one on the other. */
export function mountsAt(path: string): number {
  const table = parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
  return table.filter(({ mountPoint }) => mountPoint === path).length;
}

export function devices(): readonly string[] {
  return readdirSync("/dev").filter((name) => name.startsWith("ublkb"));
}
