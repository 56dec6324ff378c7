// Plays kubelet against a real weir-csi-node, one check for each line of output;
// test/vm/csi-node.sh says what for. Runs in a guest as root.
import { credentials, status, type ServiceError } from "@grpc/grpc-js";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import {
  NodeClient,
  NodeExpandVolumeRequest,
  NodeGetVolumeStatsRequest,
  NodePublishVolumeRequest,
  NodeStageVolumeRequest,
  VolumeCapability,
  VolumeCapability_AccessMode_Mode as Mode,
  type NodeGetVolumeStatsResponse,
} from "../../core/csi/generated/csi.ts";
import { RegistrationClient } from "../../core/csi/generated/pluginregistration.ts";
import { parseMountTable } from "../../csi-node/csi/mount-table.ts";

const { values } = parseArgs({
  options: {
    kubelet: { type: "string", default: "" },
    "engine-socket": { type: "string", default: "" },
    "engine-pid": { type: "string", default: "" },
  },
});
const kubelet = values.kubelet;
const plugin = join(kubelet, "plugins", "csi.weir.storage");
const registry = join(kubelet, "plugins_registry");
const HTTP = "127.0.0.1:9809";
const LOG = "/mnt/disk/csi-node.log";
const MIB = 1024 * 1024;

let program: ChildProcess;

function startNode(): void {
  const output = openSync(LOG, "a");
  const args = [
    ...["csi-node/csi/main.ts", "--node-name", "guest", "--without-kubernetes"],
    ...["--csi-endpoint", `unix://${join(plugin, "csi.sock")}`, "--kubelet-dir", kubelet],
    ...["--registration-dir", registry, "--engine-socket", values["engine-socket"]],
    ...["--http-endpoint", HTTP],
  ];
  program = spawn(process.execPath, args, { stdio: ["ignore", output, output] });
  closeSync(output);
}

async function ended(): Promise<number | null> {
  if (program.exitCode === null && program.signalCode === null) {
    await new Promise((resolve) => program.once("exit", resolve));
  }
  return program.exitCode;
}

async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  for (let turn = 0; turn < 1200; turn += 1) {
    if (await isTrue()) return;
    await sleep(100);
  }
  throw new Error(`waited in vain: ${what}`);
}

function expectSame(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${what}: ${String(found)}, not ${String(wanted)}`);
}

async function check(name: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
    console.log(`ok ${name}`);
  } catch (cause) {
    console.log(`not ok ${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    console.log(readFileSync(LOG, "utf8").split("\n").slice(-12).join("\n"));
  }
}

type Callback<A> = (error: ServiceError | null, answer: A) => void;
type Send<A> = (client: NodeClient, callback: Callback<A>) => unknown;

/** A connection of its own for each call, as kubelet does. */
function call<A>(send: Send<A>): Promise<A> {
  const client = new NodeClient(`unix:${join(plugin, "csi.sock")}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  return new Promise<A>((resolve, reject) => {
    send(client, (error, answer) => (error === null ? resolve(answer) : reject(error)));
  }).finally(() => client.close());
}

async function expectCode<A>(wanted: status, send: Send<A>): Promise<void> {
  const outcome = await call(send).then(
    () => "OK",
    (error: ServiceError) => status[error.code],
  );
  expectSame(outcome, status[wanted], "status");
}

interface Use {
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

const staging = (volumeId: string): string => join(kubelet, "staging", volumeId, "globalmount");
const target = (volumeId: string, pod: string): string => join(kubelet, "pods", pod, volumeId);

function stage(volumeId: string, use: Use): Send<unknown> {
  const request = NodeStageVolumeRequest.fromPartial({
    volumeId,
    stagingTargetPath: staging(volumeId),
    volumeCapability: capability(use),
    volumeContext: { "weir.storage/maxDirtyAge": "500ms" },
  });
  return (client, callback) => client.nodeStageVolume(request, callback);
}

function unstage(volumeId: string): Send<unknown> {
  const request = { volumeId, stagingTargetPath: staging(volumeId) };
  return (client, callback) => client.nodeUnstageVolume(request, callback);
}

function publish(volumeId: string, pod: string, use: Use): Send<unknown> {
  const request = NodePublishVolumeRequest.fromPartial({
    volumeId,
    stagingTargetPath: staging(volumeId),
    targetPath: target(volumeId, pod),
    volumeCapability: capability(use),
    readonly: use.readonly ?? false,
  });
  return (client, callback) => client.nodePublishVolume(request, callback);
}

function unpublish(volumeId: string, pod: string): Send<unknown> {
  const request = { volumeId, targetPath: target(volumeId, pod) };
  return (client, callback) => client.nodeUnpublishVolume(request, callback);
}

function stats(volumeId: string, volumePath: string): Send<NodeGetVolumeStatsResponse> {
  const request = NodeGetVolumeStatsRequest.fromPartial({ volumeId, volumePath });
  return (client, callback) => client.nodeGetVolumeStats(request, callback);
}

async function totalOf(volumeId: string, path: string): Promise<number> {
  return Number((await call(stats(volumeId, path))).usage[0]?.total ?? 0n);
}

function isMounted(path: string): boolean {
  const table = parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
  return table.some(({ mountPoint }) => mountPoint === path);
}

const devices = (): string[] => readdirSync("/dev").filter((name) => name.startsWith("ublkb"));

async function readyStatus(): Promise<number> {
  const response = await fetch(`http://${HTTP}/readyz`).catch(() => undefined);
  return response?.status ?? 0;
}

/** What kubelet does when it finds a socket in its folder. */
async function register(): Promise<void> {
  const names = (): string[] => readdirSync(registry).filter((name) => !name.startsWith("."));
  await until("the registration link", () => names().length === 1);
  const client = new RegistrationClient(
    `unix:${join(registry, names()[0] ?? "")}`,
    credentials.createInsecure(),
  );
  const info = await new Promise<{ endpoint: string; type: string }>((resolve, reject) => {
    client.getInfo({}, (error, answer) => (error === null ? resolve(answer) : reject(error)));
  });
  expectSame(info.endpoint, join(plugin, "csi.sock"), "endpoint");
  expectSame(info.type, "CSIPlugin", "type");
  await new Promise((resolve) => {
    client.notifyRegistrationStatus({ pluginRegistered: true, error: "" }, resolve);
  });
  client.close();
}

const ext4: Use = { fsType: "ext4" };
const once: Use = { fsType: "ext4", mode: Mode.SINGLE_NODE_SINGLE_WRITER };
const first = target("files", "first");
const second = target("files", "second");

await mkdir(kubelet, { recursive: true });
startNode();
await check("kubelet registers the driver, and the node becomes ready", async () => {
  await register();
  await until("ready", async () => (await readyStatus()) === 200);
});
await check("a publish without a stage is refused and binds nothing", async () => {
  await expectCode(status.FAILED_PRECONDITION, publish("files", "first", ext4));
  expectSame(isMounted(first), false, "mounted");
});
await check("ext4: stage twice, publish twice, write and read", async () => {
  await call(stage("files", ext4));
  await call(stage("files", ext4));
  await call(publish("files", "first", ext4));
  await call(publish("files", "first", ext4));
  await call(publish("files", "second", ext4));
  writeFileSync(join(first, "note"), "kept");
  expectSame(readFileSync(join(second, "note"), "utf8"), "kept", "content");
});
await check("a read-only publish refuses writes; other options there are a conflict", async () => {
  await call(publish("files", "reader", { ...ext4, readonly: true }));
  let code = "";
  try {
    writeFileSync(join(target("files", "reader"), "note"), "lost");
  } catch (cause) {
    code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  }
  expectSame(code, "EROFS", "write");
  await expectCode(status.ALREADY_EXISTS, publish("files", "reader", ext4));
  await call(unpublish("files", "reader"));
});
await check("ReadWriteOncePod is published once", () =>
  expectCode(status.FAILED_PRECONDITION, publish("files", "third", once)),
);
await check("stats, and the codes for what is not there", async () => {
  expectSame((await totalOf("files", first)) > 400 * MIB, true, "bytes");
  await expectCode(status.NOT_FOUND, stats("files", "some/path"));
  await expectCode(status.NOT_FOUND, stage("unknown", ext4));
});
/** Older kernels give a live ublk device no new size: there it grows at the next stage. */
const [major = 0, minor = 0] = release().split(".").map(Number);
const growsLive = major > 6 || (major === 6 && minor >= 16);

await check("expand while it is mounted, or a word on what to do", async () => {
  const request = NodeExpandVolumeRequest.fromPartial({
    volumeId: "files",
    volumePath: first,
    capacityRange: { requiredBytes: BigInt(768 * MIB) },
  });
  const expand: Send<{ capacityBytes: bigint }> = (client, callback) =>
    client.nodeExpandVolume(request, callback);
  if (!growsLive) {
    await expectCode(status.FAILED_PRECONDITION, expand);
    return;
  }
  expectSame((await call(expand)).capacityBytes, BigInt(768 * MIB), "capacity");
  expectSame((await totalOf("files", first)) > 600 * MIB, true, "bytes of the filesystem");
});
await check("an unstage while it is published leaves it staged", async () => {
  await expectCode(status.ABORTED, unstage("files"));
  expectSame(isMounted(staging("files")), true, "staged");
});
await check("the node service is killed: mounts stay, its successor goes on", async () => {
  program.kill("SIGKILL");
  await ended();
  expectSame(readFileSync(join(first, "note"), "utf8"), "kept", "content");
  startNode();
  await until("ready without kubelet", async () => (await readyStatus()) === 200);
  await call(publish("files", "first", ext4));
  await call(stage("files", ext4));
});
await check("unpublish removes the target, unstage drains and removes the device", async () => {
  for (const pod of ["first", "second"]) {
    await call(unpublish("files", pod));
    await call(unpublish("files", pod));
    expectSame(existsSync(target("files", pod)), false, "target");
  }
  await call(unstage("files"));
  await call(unstage("files"));
  expectSame(isMounted(staging("files")), false, "staged");
  expectSame(devices().length, 0, "devices");
});
await check("staged anew, the data is there, in the size that was asked for", async () => {
  await call(stage("files", ext4));
  await call(publish("files", "later", ext4));
  const later = target("files", "later");
  expectSame(readFileSync(join(later, "note"), "utf8"), "kept", "content");
  expectSame((await totalOf("files", later)) > 600 * MIB, true, "bytes of the filesystem");
});
await check("xfs", async () => {
  const xfs = { fsType: "xfs" };
  await call(stage("tree", xfs));
  await call(publish("tree", "pod", xfs));
  writeFileSync(join(target("tree", "pod"), "note"), "kept");
  await call(unpublish("tree", "pod"));
  await expectCode(status.ALREADY_EXISTS, stage("tree", ext4));
  await call(unstage("tree"));
});
await check("raw block", async () => {
  const path = target("raw", "pod");
  await call(stage("raw", {}));
  await call(publish("raw", "pod", {}));
  await call(publish("raw", "pod", {}));
  expectSame(await totalOf("raw", path), 64 * MIB, "bytes");
  execFileSync("dd", ["if=/dev/urandom", `of=${path}`, "bs=1M", "count=8", "conv=fsync"], {
    stdio: "ignore",
  });
  await expectCode(
    status.FAILED_PRECONDITION,
    publish("raw", "other", { mode: Mode.SINGLE_NODE_SINGLE_WRITER }),
  );
  await call(unpublish("raw", "pod"));
  await call(unstage("raw"));
  // Its data is no filesystem, and must not become one by a mistake in a manifest.
  await expectCode(status.FAILED_PRECONDITION, stage("raw", ext4));
  await call(unstage("raw"));
});
await check("without the engine: clear codes, and pods can go", async () => {
  process.kill(Number(values["engine-pid"]), "SIGKILL");
  await until("not ready", async () => (await readyStatus()) === 503);
  await expectCode(status.UNAVAILABLE, stage("tree", { fsType: "xfs" }));
  expectSame((await totalOf("files", target("files", "later"))) > 0, true, "stats");
  await call(unpublish("files", "later"));
});
await check("SIGTERM ends it cleanly, and kubelet's link stays", async () => {
  program.kill("SIGTERM");
  expectSame(await ended(), 0, "exit");
  expectSame(readdirSync(registry).length, 1, "links");
});
