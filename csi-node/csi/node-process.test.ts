// Goal: the whole service stands: kubelet finds it by its link, its calls reach engine and mounts
// and get CSI's codes, readiness says what is missing, a successor takes over without a gap, and
// the signal ends it. Method: real sockets and HTTP in a temporary folder; engine and mounter are
// the fakes, kubelet is the generated clients.
import { status } from "@grpc/grpc-js";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";

import {
  IdentityService,
  NodePublishVolumeRequest,
  NodeService,
  NodeStageVolumeRequest,
  VolumeCapability,
} from "../../core/csi/generated/csi.ts";
import { RegistrationService } from "../../core/csi/generated/pluginregistration.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { callOnce, RpcClient } from "../../test/support/rpc-client.ts";
import { parseNodeConfig } from "./config.ts";
import { runNode } from "./node-process.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { VERSION } from "../../core/runtime/version.ts";
import { NodeUnderTest } from "./node-under-test.ts";
import { freePort } from "../../test/support/free-port.ts";

let kubelet: string;
let http: string;
let node: NodeUnderTest;
let stops: AbortController[];
let running: Promise<void>[];

beforeEach(async () => {
  kubelet = mkdtempSync(join(tmpdir(), "weir-kubelet-"));
  mkdirSync(join(kubelet, "plugins_registry"), { recursive: true });
  http = `127.0.0.1:${await freePort()}`;
  node = new NodeUnderTest();
  stops = [];
  running = [];
});

afterEach(async () => {
  for (const stop of stops) stop.abort();
  await Promise.all(running);
  rmSync(kubelet, { recursive: true });
});

const socketPath = () => join(kubelet, "plugins", DRIVER, "csi.sock");

function start(endpoint = http): AbortController {
  const config = parseNodeConfig(
    [
      ...["--node-name=n1", `--csi-endpoint=unix:${socketPath()}`, `--kubelet-dir=${kubelet}`],
      ...[`--registration-dir=${join(kubelet, "plugins_registry")}`, "--without-kubernetes"],
      ...[`--http-endpoint=${endpoint}`],
    ],
    { driver: DRIVER, env: {} },
  );
  if (config === undefined) throw new Error("no configuration");
  const stop = new AbortController();
  stops.push(stop);
  running.push(
    runNode({
      ...{ config, engine: node.engine, mounter: node.mounter, api: undefined },
      ...{ clock: realClock, random: realRandom, signal: stop.signal },
      log: pino({}, captureLogs()),
    }),
  );
  return stop;
}

const links = () =>
  readdirSync(join(kubelet, "plugins_registry")).filter((name) => !name.startsWith("."));

async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise(setImmediate);
}

async function get(path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://${http}${path}`).catch(() => undefined);
  return { status: response?.status ?? 0, text: (await response?.text()) ?? "" };
}

/** As kubelet does with a new socket in its folder. */
async function register(): Promise<string> {
  await until(() => links().length === 1);
  const path = join(kubelet, "plugins_registry", links()[0] ?? "");
  using client = new RpcClient(path);
  const { endpoint } = await client.call(RegistrationService.getInfo, {});
  const told = { pluginRegistered: true, error: "" };
  await client.call(RegistrationService.notifyRegistrationStatus, told);
  return endpoint;
}

const common = {
  volumeId: "data",
  stagingTargetPath: "/staging",
  volumeCapability: VolumeCapability.fromPartial({
    accessType: { $case: "mount", value: { fsType: "", mountFlags: [], volumeMountGroup: "" } },
    accessMode: { mode: 7 },
  }),
};

const stage = (volumeId = "data") => {
  const request = NodeStageVolumeRequest.fromPartial({ ...common, volumeId });
  return callOnce(socketPath(), NodeService.nodeStageVolume, request);
};
const publish = () => {
  const request = NodePublishVolumeRequest.fromPartial({ ...common, targetPath: "/pods/a" });
  return callOnce(socketPath(), NodeService.nodePublishVolume, request);
};

test("registers, becomes ready, serves, and counts what it served", async () => {
  start();
  await until(async () => (await get("/healthz")).status === 200);
  expect(await get("/readyz")).toStrictEqual({
    status: 503,
    text: "kubelet has not registered the driver yet\n",
  });
  expect(await register()).toBe(socketPath());
  expect((await get("/readyz")).status).toBe(200);
  const info = await callOnce(socketPath(), NodeService.nodeGetInfo, {});
  expect(info).toMatchObject({ nodeId: "n1", maxVolumesPerNode: 64n });
  await expect(publish()).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
  await stage();
  await publish();
  await expect(stage("unknown")).rejects.toMatchObject({ code: status.NOT_FOUND });
  const { text } = await get("/metrics");
  expect(text).toMatch(/csi_operations_seconds_count\{[^}]*NodeStageVolume[^}]*"NOT_FOUND"\} 1/u);
  expect(text).toContain("weir_node_registered 1");
  expect((await get("/else")).status).toBe(404);
});

test("says to kubelet without an engine that it is UNAVAILABLE, and stays ready", async () => {
  expectLog(/RPC failed/u);
  const fault = new WeirError("engine-unavailable", "no engine is running on this node");
  node.engine.fail("status", fault);
  node.engine.fail("attach", fault);
  start();
  await register();
  await expect(stage()).rejects.toMatchObject({
    code: status.UNAVAILABLE,
    details: "no engine is running on this node",
  });
  // The engine's container says that; a pod that is not ready is deleted at once in a rollout.
  expect((await get("/readyz")).status).toBe(200);
});

test("a second call for a volume is ABORTED while the first one runs", async () => {
  start();
  await register();
  const release = node.engine.hold("attach");
  const first = stage();
  await until(() => node.engine.callsOf("attach") === 1);
  await expect(stage()).rejects.toMatchObject({ code: status.ABORTED });
  release();
  await first;
});

test("a successor takes over without another registration", async () => {
  const first = start();
  await register();
  await stage();
  const before = links();
  const sockets = ["csi.sock", "reg.sock"].map((name) => join(kubelet, "plugins", DRIVER, name));
  const inodes = () => sockets.map((path) => statSync(path).ino);
  const former = inodes();
  start("");
  await until(() => inodes().every((ino, index) => ino !== former[index]));
  first.abort();
  await running[0];
  await publish();
  expect(links()).toStrictEqual(before);
});

test("identity says who it is and that volumes grow while they are used", async () => {
  start();
  await register();
  using client = new RpcClient(socketPath());
  const info = await client.call(IdentityService.getPluginInfo, {});
  expect(info).toMatchObject({ name: DRIVER, vendorVersion: VERSION });
  expect(await client.call(IdentityService.probe, {})).toEqual({ ready: true });
});
