// Plays kubelet against a real weir-csi-node, one check for each line of output;
// test/vm/csi-node.sh says what for. Runs in a guest as root.
import { status } from "@grpc/grpc-js";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";

import {
  NodeGetVolumeStatsRequest,
  NodeService,
  VolumeCapability_AccessMode_Mode as Mode,
  type NodeGetVolumeStatsResponse,
} from "../../core/csi/generated/csi.ts";
import { RegistrationService } from "../../core/csi/generated/pluginregistration.ts";
import { MARK, markOffset } from "../../csi-node/csi/format-mark.ts";
import { RpcClient } from "../support/rpc-client.ts";
import {
  call,
  check,
  devices,
  ended,
  enginePid,
  expand,
  expectSame,
  isServiceError,
  kubelet,
  killNode,
  MIB,
  mountsAt,
  plugin,
  publish,
  readyStatus,
  registry,
  stage,
  staging,
  startNode,
  target,
  unpublish,
  unstage,
  until,
  type Send,
  type Use,
} from "./kubelet.ts";

const isMounted = (path: string): boolean => mountsAt(path) > 0;

async function expectCode<A>(wanted: status, send: Send<A>): Promise<void> {
  const outcome = await call(send).then(
    () => "OK",
    (cause: unknown) => (isServiceError(cause) ? status[cause.code] : String(cause)),
  );
  expectSame(outcome, status[wanted], "status");
}

function stats(volumeId: string, volumePath: string): Send<NodeGetVolumeStatsResponse> {
  const request = NodeGetVolumeStatsRequest.fromPartial({ volumeId, volumePath });
  return (client) => client.call(NodeService.nodeGetVolumeStats, request);
}

async function totalOf(volumeId: string, path: string): Promise<number> {
  return Number((await call(stats(volumeId, path))).usage[0]?.total ?? 0n);
}

/** What kubelet does when it finds a socket in its folder. */
async function register(): Promise<void> {
  const names = (): string[] => readdirSync(registry).filter((name) => !name.startsWith("."));
  await until("the registration link", () => names().length === 1);
  using client = new RpcClient(join(registry, names()[0] ?? ""));
  const info = await client.call(RegistrationService.getInfo, {});
  expectSame(info.endpoint, join(plugin, "csi.sock"), "endpoint");
  expectSame(info.type, "CSIPlugin", "type");
  const told = { pluginRegistered: true, error: "" };
  await client.call(RegistrationService.notifyRegistrationStatus, told);
}

/** As test/vm/csi-node.sh makes the two. */
const TORN_BYTES = 320 * MIB;

/** What another node leaves that is lost after mkfs.xfs and before the mark of its format went. */
async function leaveUnfinished(volumeId: string): Promise<void> {
  await call(stage(volumeId, {}));
  await call(publish(volumeId, "torn", {}));
  const path = target(volumeId, "torn");
  const offset = markOffset(TORN_BYTES) ?? 0;
  execFileSync("mkfs.xfs", ["-q", "-K", "-d", `size=${offset}`, path], { stdio: "ignore" });
  const place = [`of=${path}`, "bs=4096", `seek=${offset / 4096}`, "conv=notrunc,fsync"];
  execFileSync("dd", place, { input: MARK, stdio: ["pipe", "ignore", "ignore"] });
  await call(unpublish(volumeId, "torn"));
  await call(unstage(volumeId));
}

const ext4: Use = { fsType: "ext4" };
const once: Use = { fsType: "ext4", mode: Mode.SINGLE_NODE_SINGLE_WRITER };
const first = target("files", "first");
const second = target("files", "second");

await mkdir(kubelet, { recursive: true });
let program = startNode();
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
  const grow = expand("files", first, 768 * MIB);
  if (!growsLive) {
    await expectCode(status.FAILED_PRECONDITION, grow);
    return;
  }
  expectSame((await call(grow)).capacityBytes, BigInt(768 * MIB), "capacity");
  expectSame((await totalOf("files", first)) > 600 * MIB, true, "bytes of the filesystem");
});
await check("an unstage while it is published leaves it staged", async () => {
  await expectCode(status.ABORTED, unstage("files"));
  expectSame(isMounted(staging("files")), true, "staged");
});
await check("the node service is killed: mounts stay, its successor goes on", async () => {
  await killNode(program);
  expectSame(readFileSync(join(first, "note"), "utf8"), "kept", "content");
  program = startNode();
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
await check("a format that was broken off elsewhere begins anew", async () => {
  await leaveUnfinished("torn");
  await call(stage("torn", ext4));
  await call(publish("torn", "pod", ext4));
  writeFileSync(join(target("torn", "pod"), "note"), "kept");
  await call(unpublish("torn", "pod"));
  await call(unstage("torn"));
  await call(stage("torn", ext4));
  expectSame(readFileSync(join(staging("torn"), "note"), "utf8"), "kept", "content");
  await call(unstage("torn"));
});
await check("nothing of a format that was broken off is left on a block volume", async () => {
  await leaveUnfinished("torn-raw");
  await call(stage("torn-raw", {}));
  await call(publish("torn-raw", "pod", {}));
  const path = target("torn-raw", "pod");
  execFileSync("cmp", ["-n", String(TORN_BYTES), path, "/dev/zero"], { stdio: "ignore" });
  await call(unpublish("torn-raw", "pod"));
  await call(unstage("torn-raw"));
});
await check("without the engine: clear codes, pods can go, and it stays ready", async () => {
  process.kill(enginePid, "SIGKILL");
  await expectCode(status.UNAVAILABLE, stage("tree", { fsType: "xfs" }));
  // Not ready would, in a rollout, delete the pod with the engine's devices.
  expectSame(await readyStatus(), 200, "status of /readyz");
  expectSame((await totalOf("files", target("files", "later"))) > 0, true, "stats");
  await call(unpublish("files", "later"));
});
await check("SIGTERM ends it cleanly, and kubelet's link stays", async () => {
  program.kill("SIGTERM");
  expectSame(await ended(program), 0, "exit");
  expectSame(readdirSync(registry).length, 1, "links");
});
