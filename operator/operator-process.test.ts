// Goal: the whole operator serves CSI over its socket on every replica, reconciles only as the
// leader, hands over to the next one, and ends cleanly. Method: real sockets and a real clock in
// this process, over a fake API server and a directory in memory; nothing is timed.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { freePort } from "../test/support/free-port.ts";
import { captureLogs } from "../test/support/log-capture.ts";
import { createRequest } from "../test/support/operator-world.ts";
import { callOnce, RpcClient } from "../test/support/rpc-client.ts";
import {
  ControllerService,
  IdentityService,
  type CreateVolumeResponse,
} from "../core/csi/generated/csi.ts";
import { FakeKube } from "../core/kube/fake-kube.ts";
import { LEASE } from "../core/kube/kinds.ts";
import { WeirError } from "../core/runtime/errors.ts";
import { Health } from "../core/runtime/health.ts";
import { realClock, realRandom } from "../core/runtime/real-ports.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import { MemoryStore } from "../core/store/memory-store.ts";
import type { OperatorConfig } from "./config.ts";
import { runOperator } from "./operator-process.ts";

const ports = { clock: realClock, random: realRandom, log: pino({}, captureLogs()) };

let folder: string;
let kube: FakeKube;
let store: MemoryStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-operator-"));
  kube = new FakeKube(ports);
  store = new MemoryStore(ports);
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function configOf(instance: string): OperatorConfig {
  return {
    socketPath: join(folder, `${instance}.sock`),
    electionNamespace: "weir-system",
    leaseMs: 15_000,
    httpEndpoint: undefined,
    storeUrl: "memory:",
    kubeconfigPath: undefined,
    instance,
    logLevel: "info",
  };
}

function start(instance: string, health?: Health) {
  const config = configOf(instance);
  const stop = new AbortController();
  const leading = Promise.withResolvers<void>();
  const options = { ...ports, config, api: kube, store, signal: stop.signal, health };
  const ended = runOperator({ ...options, onLeading: (is) => is && leading.resolve() });
  const end = async (): Promise<void> => {
    stop.abort(new WeirError("aborted", "the test ends it"));
    await ended;
  };
  return { socket: config.socketPath, leading: leading.promise, ended, end };
}

async function create(socket: string, name: string): Promise<CreateVolumeResponse> {
  using client = new RpcClient(socket);
  await client.untilConnected(10_000);
  return await client.call(ControllerService.createVolume, createRequest(name));
}

test("two replicas: both serve, one leads, and the other goes on when it ends", async () => {
  const first = start("first");
  await first.leading;
  const second = start("second");
  expect((await create(first.socket, "a")).volume?.volumeId).toBe("a");
  // The second one only makes the object; the first one makes it ready.
  expect((await create(second.socket, "b")).volume?.volumeId).toBe("b");
  await first.end();
  await second.leading;
  expect((await create(second.socket, "c")).volume?.volumeId).toBe("c");
  await second.end();
  const lease = { namespace: "weir-system", name: "weir-operator" };
  const left = await kube.get(LEASE, lease, { signal: new AbortController().signal });
  expect(left?.spec?.holderIdentity ?? "").toBe("");
  expect(kube.openWatches).toBe(0);
});

/** Answers nothing before it is opened. */
class ClosedStore extends MemoryStore {
  readonly opened = Promise.withResolvers<void>();

  override async get(...args: Parameters<ObjectStore["get"]>) {
    await this.opened.promise;
    return super.get(...args);
  }
}

test("it serves at once, but has started only when its first probe has ended", async () => {
  const closed = new ClosedStore(ports);
  store = closed;
  const endpoint = `127.0.0.1:${await freePort()}`;
  await using health = await Health.serve(endpoint);
  const startup = async () => (await fetch(`http://${endpoint}/startupz`)).status;
  const operator = start("only", health);
  await operator.leading;
  await callOnce(operator.socket, IdentityService.getPluginInfo, {});
  expect(await startup()).toBe(503);
  closed.opened.resolve();
  while ((await startup()) !== 200) await new Promise(setImmediate);
  await operator.end();
});

test("who lost the leadership ends with a fault", async () => {
  const operator = start("only");
  await operator.leading;
  const lease = { namespace: "weir-system", name: "weir-operator" };
  const { signal } = new AbortController();
  const stolen = { spec: { holderIdentity: "another", leaseTransitions: 99 } };
  await kube.merge(LEASE, lease, stolen, { signal });
  await expect(operator.ended).rejects.toMatchObject({ code: "aborted" });
});

test("the driver says what it is and can", async () => {
  const operator = start("only");
  await operator.leading;
  const { socket } = operator;
  const info = await callOnce(socket, IdentityService.getPluginInfo, {});
  expect(info).toMatchObject({ name: "csi.weir.storage" });
  expect(await callOnce(socket, IdentityService.getPluginCapabilities, {})).toEqual({
    capabilities: [
      { type: { $case: "service", value: { type: 1 } } },
      { type: { $case: "volumeExpansion", value: { type: 1 } } },
    ],
  });
  const controller = await callOnce(socket, ControllerService.controllerGetCapabilities, {});
  const types = controller.capabilities.map(({ type }) => type?.value.type);
  // Beyond 14, csi-sanity 5.4 knows none.
  expect(types).toEqual([1, 2, 3, 10, 12, 5, 6, 7, 9, 13]);
  await operator.end();
});
