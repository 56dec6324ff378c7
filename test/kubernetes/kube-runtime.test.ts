// Goal: what the fake promises is what a real API server does, and a reflector on one has the
// truth again after connections were cut, went silent, or came back too late for the changes in
// between. Method: kube-apiserver and etcd on loopback, the contract suite, and a TCP relay that
// cuts and silences. Time is the fake clock's, so a silence of minutes takes none.

import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { ClientKube } from "../../core/kube/client-kube.ts";
import { EventRecorder } from "../../core/kube/events.ts";
import { MetadataSchema, defineKind } from "../../core/kube/kind.ts";
import { LEASE, NODE, VOLUME_ATTACHMENT } from "../../core/kube/kinds.ts";
import { describeKubeContract, WIDGET, WIDGET_CRD } from "../../core/kube/kube-contract.ts";
import type { Widget } from "../../core/kube/kube-contract.ts";
import { becomeLeader } from "../../core/kube/leader-election.ts";
import { Reflector } from "../../core/kube/reflector.ts";
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { type KubeApiServer, startKubeApiServer } from "../support/kube-apiserver.ts";
import { captureLogs, expectLog } from "../support/log-capture.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

const anything = z.object({ metadata: MetadataSchema });
const crdStatus = z.object({
  conditions: z.array(z.object({ type: z.string(), status: z.string() })).nullish(),
});
const CRD = defineKind({
  group: "apiextensions.k8s.io",
  version: "v1",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
  schema: anything.extend({ status: crdStatus.optional() }),
});
const NAMESPACE = defineKind({
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
  schema: anything,
});
const EVENT = defineKind({
  group: "events.k8s.io",
  version: "v1",
  kind: "Event",
  plural: "events",
  namespaced: true,
  schema: anything.extend({
    reason: z.string(),
    note: z.string(),
    series: z.object({ count: z.number() }).optional(),
  }),
});

const call = { signal: new AbortController().signal };
const log = pino({ level: "debug" }, captureLogs());
let server: KubeApiServer;
let kube: ClientKube;

beforeAll(async () => {
  server = await startKubeApiServer();
  kube = clientOf(realClock, server.port);
  await kube.create(CRD, WIDGET_CRD, call);
  await eventually("the CRD is served", async () => {
    const crd = await kube.get(CRD, { name: WIDGET_CRD.metadata.name }, call);
    const conditions = crd?.status?.conditions ?? [];
    return conditions.some(({ type, status }) => type === "Established" && status === "True");
  });
  // Established, the kind is served by and by.
  await eventually("widgets are listed", async () => {
    const listed = await kube.list(WIDGET, {}, call).catch(() => undefined);
    return listed !== undefined;
  });
}, 120_000);

afterAll(async () => {
  kube?.[Symbol.dispose]();
  await server?.[Symbol.asyncDispose]();
});

function clientOf(clock: Clock, port: number): ClientKube {
  return new ClientKube({
    clock,
    random: new SeededRandom(1),
    config: server.config(port),
    userAgent: "weir-test/1",
    reportingController: "csi.weir.storage",
    reportingInstance: "test",
  });
}

async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    if (await isSo()) return;
    await sleep(50);
  }
  throw new Error(`it never came true that ${what}`);
}

describeKubeContract("kube-apiserver", async () => kube);

test("a watch from a version before the server's memory expires", async () => {
  const events = kube.watch(WIDGET, { resourceVersion: "1" }, call);
  expect(await events.next()).toEqual({ done: false, value: { type: "expired" } });
});

test("a kind that the server does not know is a fault, not an absence", async () => {
  const unknown = { ...WIDGET, group: "nowhere.weir.storage" };
  const got = kube.get(unknown, { name: "w" }, call);
  await expect(got).rejects.toMatchObject({ code: "kube-unavailable" });
});

test("the built-in kinds are of the shape we expect", async () => {
  await kube.create(NODE, { metadata: { name: "node" }, spec: { unschedulable: true } }, call);
  const { items } = await kube.list(NODE, {}, call);
  expect(items.map(({ spec }) => spec?.unschedulable)).toEqual([true]);
  const attachment = {
    metadata: { name: "attachment" },
    spec: { attacher: "csi.weir.storage", nodeName: "node", source: { persistentVolumeName: "v" } },
  };
  const made = await kube.create(VOLUME_ATTACHMENT, attachment, call);
  expect(made).toMatchObject({ kind: "created", object: { status: { attached: false } } });
});

test("the Lease goes from leader to leader", async () => {
  await kube.create(NAMESPACE, { metadata: { name: "weir" } }, call);
  const lease = { namespace: "weir", name: "operator" };
  const election = { api: kube, clock: realClock, random: realRandom, log, lease };
  const first = await becomeLeader({ ...election, identity: "first" }, call.signal);
  const next = becomeLeader({ ...election, identity: "second" }, call.signal);
  await first[Symbol.asyncDispose]();
  const second = await next;
  expect([first.term, second.term]).toEqual([0, 1]);
  const held = await kube.get(LEASE, lease, call);
  expect(held?.spec).toMatchObject({ holderIdentity: "second", leaseDurationSeconds: 15 });
  await second[Symbol.asyncDispose]();
  expect((await kube.get(LEASE, lease, call))?.spec?.holderIdentity).toBeUndefined();
});

test("equal events are one object with a count", async () => {
  const clock = new FakeClock({ wallMs: realClock.wallMs() });
  await using recorder = new EventRecorder({ api: kube, clock, random: realRandom, log });
  const regarding = {
    apiVersion: "contract.weir.storage/v1",
    kind: "Widget",
    name: "eventful",
    uid: "11111111-2222-3333-4444-555555555555",
  };
  const listed = async () => (await kube.list(EVENT, { namespace: "default" }, call)).items;
  for (let count = 0; count < 3; count += 1) {
    const event = { regarding, type: "Warning", reason: "Failed", note: "n", action: "Test" };
    recorder.record({ ...event, type: "Warning" });
    await clock.advance(0);
    await eventually("the event is there", async () => (await listed()).length === 1);
  }
  await clock.advance(60_000);
  await eventually("the event is counted", async () => (await listed())[0]?.series?.count === 3);
  expect(await listed()).toHaveLength(1);
});

/** What the relay does with the server's answers. */
let link: "up" | "cut" | "silent";
/** Pieces of answers that were dropped. */
let swallowedCount = 0;
let sizeCount = 0;

beforeEach(() => {
  link = "up";
});

interface Followed extends AsyncDisposable {
  readonly clock: FakeClock;
  readonly reflector: Reflector<Widget>;
  readonly proxy: TcpProxy;
}

async function follow(): Promise<Followed> {
  const stack = new AsyncDisposableStack();
  const verdicts = { up: "pass", cut: "cut", silent: "drop" } as const;
  const rules = {
    toServer: () => verdicts[link],
    toClient: () => {
      if (link === "silent") swallowedCount += 1;
      return verdicts[link];
    },
  };
  const proxy = stack.use(await startTcpProxy(server.port, rules));
  const clock = new FakeClock();
  const api = stack.use(clientOf(clock, proxy.port));
  const random = new SeededRandom(2);
  const reflector = stack.use(new Reflector({ api, kind: WIDGET, clock, random, log }));
  await reflector.synced(call.signal);
  return {
    clock,
    reflector,
    proxy,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function write(name: string): Promise<number> {
  sizeCount += 1;
  const spec = { size: sizeCount };
  const options = { fieldManager: "test", force: true };
  const outcome = await kube.apply(WIDGET, { metadata: { name }, spec }, options, call);
  expect(outcome.kind).toBe("written");
  return sizeCount;
}

/** Moves the reflector's time on until it has what the server has. */
async function caughtUp({ clock, reflector }: Followed, stepMs: number): Promise<void> {
  const { items } = await kube.list(WIDGET, {}, call);
  const versions = (all: readonly Widget[]): string =>
    JSON.stringify(all.map(({ metadata }) => metadata.resourceVersion).toSorted());
  await eventually("the reflector has the server's objects", async () => {
    if (versions(reflector.items()) === versions(items)) return true;
    await clock.advance(stepMs);
    return false;
  });
}

test("changes arrive by the watch", async () => {
  await using followed = await follow();
  const size = await write("live");
  await caughtUp(followed, 0);
  expect(followed.reflector.get("live")?.spec?.size).toBe(size);
});

test("connections cut again and again cost no change", async () => {
  expectLog(/watching widgets failed/u);
  await using followed = await follow();
  for (let round = 0; round < 5; round += 1) {
    link = "cut";
    await write(`cut-${round}`);
    await followed.clock.advance(1000);
    link = "up";
    await write("cut-and-up");
    await caughtUp(followed, 1000);
  }
});

test("a connection that goes silent is given up, and what it swallowed is found", async () => {
  expectLog(/watching widgets failed/u);
  await using followed = await follow();
  // After this the watch is there, and not only asked for.
  await write("heard");
  await caughtUp(followed, 0);
  link = "silent";
  const size = await write("swallowed");
  await eventually("the news is swallowed", () => swallowedCount > 0);
  expect(followed.reflector.get("swallowed")).toBeUndefined();
  link = "up";
  // Before the watch's own time is over, nothing tells a silent connection from a quiet one.
  await caughtUp(followed, 10_000);
  expect(followed.reflector.get("swallowed")?.spec?.size).toBe(size);
});

test("after a restart the server has forgotten changes, and everything is listed", async () => {
  expectLog(/watching widgets failed/u);
  await write("doomed");
  await using followed = await follow();
  link = "cut";
  await kube.delete(WIDGET, { name: "doomed" }, call);
  await write("unseen");
  await server.restart();
  await write("after");
  link = "up";
  await caughtUp(followed, 1000);
  expect(followed.reflector.get("doomed")).toBeUndefined();
}, 120_000);
