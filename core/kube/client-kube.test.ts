// Goal: each answer of an API server becomes the outcome or fault that the port promises, and no
// silence lasts. Method: a small HTTP server on loopback answers as each test scripts it; time is
// the fake clock's, so silence costs none. The real server's part is kube-contract.ts.

import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { ClientKube } from "./client-kube.ts";
import type { KubeEvent, WatchEvent } from "./kube-api.ts";
import { WIDGET } from "./kube-contract.ts";
import type { Widget } from "./kube-contract.ts";
import { LEASE } from "./kinds.ts";

interface Request {
  readonly method: string | undefined;
  readonly url: URL;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

type Answer = (request: Request, response: ServerResponse) => void;

let clock: FakeClock;
let server: Server;
let kube: ClientKube;
let requests: Request[];
let answer: Answer;
/** Resolves at each request, after `answer` ran. */
let asked: PromiseWithResolvers<void>;

const call = { signal: new AbortController().signal };
const meta = { name: "w", uid: "u", resourceVersion: "7" };

beforeEach(async () => {
  clock = new FakeClock();
  requests = [];
  asked = Promise.withResolvers();
  server = createServer((request, response) => void take(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port was given");
  kube = open(`http://127.0.0.1:${address.port}`);
});

afterEach(async () => {
  kube[Symbol.dispose]();
  server.closeAllConnections();
  server.close();
  await once(server, "close");
  expect(clock.timerCount).toBe(0);
});

function open(address: string): ClientKube {
  return new ClientKube({
    clock,
    random: new SeededRandom(1),
    config: { server: address, tls: {}, token: { kind: "text", text: "the-token" } },
    userAgent: "weir-test/1",
    reportingController: "csi.weir.storage",
    reportingInstance: "pod-1",
  });
}

async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: string[] = [];
  for await (const chunk of request) chunks.push(String(chunk));
  const url = new URL(request.url ?? "", "http://server");
  const taken = { method: request.method, url, headers: request.headers, body: chunks.join("") };
  requests.push(taken);
  answer(taken, response);
  asked.resolve();
}

/** Answers every request with this status and JSON. */
function says(status: number, json: unknown): Answer {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(json));
  };
}

function refuses(code: number, reason: string, message = "no", details: object = meta): Answer {
  return says(code, { kind: "Status", status: "Failure", code, reason, message, details });
}

const apply = (status = false): Promise<unknown> =>
  kube.apply(
    WIDGET,
    { metadata: { name: "w" }, spec: { size: 1 } },
    { fieldManager: "weir-test", force: true, status },
    call,
  );

test("requests say who we are and what we want", async () => {
  answer = says(200, { metadata: meta });
  expect(await apply(true)).toEqual({ kind: "written", object: { metadata: meta } });
  const [request] = requests;
  expect(request?.method).toBe("PATCH");
  expect(request?.url.pathname).toBe("/apis/contract.weir.storage/v1/widgets/w/status");
  expect(Object.fromEntries(request?.url.searchParams ?? [])).toEqual({
    fieldManager: "weir-test",
    force: "true",
  });
  expect(request?.headers).toMatchObject({
    authorization: "Bearer the-token",
    "user-agent": "weir-test/1",
    "content-type": "application/apply-patch+yaml",
  });
  expect(JSON.parse(request?.body ?? "")).toEqual({
    apiVersion: "contract.weir.storage/v1",
    kind: "Widget",
    metadata: { name: "w" },
    spec: { size: 1 },
  });
});

test("namespaced kinds stand in their namespace, those of the core group under /api", async () => {
  answer = says(200, { metadata: meta });
  await kube.get(LEASE, { namespace: "weir", name: "a/b" }, call);
  await kube.get({ ...WIDGET, group: "" }, { name: "w" }, call);
  expect(requests.map(({ url }) => url.pathname)).toEqual([
    "/apis/coordination.k8s.io/v1/namespaces/weir/leases/a%2Fb",
    "/api/v1/widgets/w",
  ]);
});

const rbac = 'widgets "w" is forbidden: User "system:node:a" cannot patch resource "widgets"';

test.each([
  { code: 400, reason: "BadRequest", outcome: { kind: "invalid", message: "no" } },
  { code: 413, reason: "TooLarge", outcome: { kind: "invalid", message: "no" } },
  { code: 422, reason: "Invalid", outcome: { kind: "invalid", message: "no" } },
  { code: 403, reason: "Forbidden", outcome: { kind: "invalid", message: "no" } },
  { code: 404, reason: "NotFound", outcome: { kind: "absent" } },
  { code: 409, reason: "Conflict", outcome: { kind: "conflict", message: "no" } },
])("a write refused with $code is an outcome", async ({ code, reason, outcome }) => {
  answer = refuses(code, reason);
  expect(await apply()).toEqual(outcome);
  expect(await kube.merge(WIDGET, { name: "w" }, {}, call)).toEqual(outcome);
});

test.each([
  { code: 401, message: "no", details: meta, fault: "kube-denied" },
  { code: 403, message: rbac, details: meta, fault: "kube-denied" },
  { code: 404, message: "no such kind", details: {}, fault: "kube-unavailable" },
  { code: 429, message: "no", details: { retryAfterSeconds: 3 }, fault: "kube-unavailable" },
  { code: 500, message: "no", details: meta, fault: "kube-unavailable" },
  { code: 503, message: "no", details: meta, fault: "kube-unavailable" },
])("an answer with $code ($message) is a fault", async ({ code, message, details, fault }) => {
  answer = refuses(code, "", message, details);
  await expect(apply()).rejects.toMatchObject({ code: fault, details: { code } });
  await expect(kube.get(WIDGET, { name: "w" }, call)).rejects.toMatchObject({ code: fault });
  await expect(kube.list(WIDGET, {}, call)).rejects.toMatchObject({ code: fault });
});

test("what is absent is undefined to get, and absent to delete", async () => {
  answer = refuses(404, "NotFound");
  expect(await kube.get(WIDGET, { name: "w" }, call)).toBeUndefined();
  expect(await kube.delete(WIDGET, { name: "w" }, call)).toBe("absent");
  answer = refuses(409, "Conflict");
  expect(await kube.delete(WIDGET, { name: "w", uid: "u" }, call)).toBe("absent");
  expect(JSON.parse(requests.at(-1)?.body ?? "")).toMatchObject({ preconditions: { uid: "u" } });
  await expect(kube.delete(WIDGET, { name: "w" }, call)).rejects.toThrow("refused");
});

test("a create tells whether the name was taken or the content refused", async () => {
  const object = { metadata: { name: "w" } };
  answer = says(201, { metadata: meta });
  expect(await kube.create(WIDGET, object, call)).toMatchObject({ kind: "created" });
  answer = refuses(409, "AlreadyExists");
  expect(await kube.create(WIDGET, object, call)).toEqual({ kind: "exists" });
  answer = refuses(422, "Invalid");
  expect(await kube.create(WIDGET, object, call)).toEqual({ kind: "invalid", message: "no" });
  answer = refuses(409, "Conflict");
  await expect(kube.create(WIDGET, object, call)).rejects.toThrow("refused");
});

test("a list reads all pages, and gives the version of the last", async () => {
  answer = (request, response) => {
    const page = request.url.searchParams.get("continue") ?? "0";
    const items = [{ metadata: { ...meta, name: `w${page}` } }];
    const rest = page === "2" ? {} : { continue: String(Number(page) + 1) };
    says(200, { metadata: { resourceVersion: "9", ...rest }, items })(request, response);
  };
  const { items, resourceVersion } = await kube.list(WIDGET, { labelSelector: "a=b" }, call);
  expect(items.map((item) => item.metadata.name)).toEqual(["w0", "w1", "w2"]);
  expect(resourceVersion).toBe("9");
  expect(requests.map(({ url }) => url.searchParams.get("labelSelector"))).toEqual([
    "a=b",
    "a=b",
    "a=b",
  ]);
});

test("an object of another shape is our fault, with its name", async () => {
  answer = says(200, { metadata: meta, spec: { size: "large" } });
  await expect(kube.get(WIDGET, { name: "w" }, call)).rejects.toMatchObject({
    code: "internal",
    details: { kind: "Widget", name: "w", field: "spec.size" },
  });
});

test("half an answer and a page of a proxy are faults that may pass", async () => {
  answer = (_request, response) => response.end('{"metadata":');
  await expect(apply()).rejects.toMatchObject({ code: "kube-unavailable" });
  answer = (_request, response) => {
    response.writeHead(502);
    response.end("<html>bad gateway</html>");
  };
  await expect(apply()).rejects.toMatchObject({
    code: "kube-unavailable",
    details: { problem: "<html>bad gateway</html>" },
  });
});

test("a server that is not there is a fault that may pass", async () => {
  using nobody = open("http://127.0.0.1:1");
  await expect(nobody.get(WIDGET, { name: "w" }, call)).rejects.toMatchObject({
    code: "kube-unavailable",
    details: { problem: expect.stringContaining("ECONNREFUSED") },
  });
});

test.each(["before its head", "within its body"])(
  "an answer that stops %s is given up",
  async (place) => {
    answer = (_request, response) => {
      if (place === "within its body") response.write('{"metadata"');
    };
    const got = kube.get(WIDGET, { name: "w" }, call).catch((error: unknown) => error);
    await asked.promise;
    await clock.advance(30_000);
    expect(await got).toMatchObject({ code: "kube-unavailable", details: { method: "GET" } });
  },
);

test("the caller's signal ends a call with the caller's reason", async () => {
  answer = () => {};
  const stop = new AbortController();
  const got = kube.get(WIDGET, { name: "w" }, stop).catch((error: unknown) => error);
  await asked.promise;
  stop.abort();
  expect(await got).toMatchObject({ code: "aborted" });
});

test("an idle connection that died is replaced once, except for a create", async () => {
  const fine = says(200, { metadata: meta });
  let isDead = false;
  answer = (request, response) => {
    if (isDead && request.headers["x-seen"] === undefined) {
      isDead = false;
      response.socket?.destroy();
    } else fine(request, response);
  };
  await apply();
  isDead = true;
  expect(await apply()).toMatchObject({ kind: "written" });
  expect(requests).toHaveLength(3);
  isDead = true;
  const made = kube.create(WIDGET, { metadata: { name: "w" } }, call);
  await expect(made).rejects.toMatchObject({ code: "kube-unavailable" });
  expect(requests).toHaveLength(4);
});

const line = (type: string, object: unknown): string => `${JSON.stringify({ type, object })}\n`;
const widget = (size: number): object => ({ metadata: meta, spec: { size } });

async function watched(): Promise<readonly WatchEvent<Widget>[]> {
  const events: WatchEvent<Widget>[] = [];
  const from = { resourceVersion: "5", fieldSelector: "status.node=a" };
  for await (const event of kube.watch(WIDGET, from, call)) events.push(event);
  return events;
}

test("a watch gives its lines as events, however they were cut", async () => {
  const text = [
    line("ADDED", widget(1)),
    line("MODIFIED", { metadata: meta, spec: { color: "größer" } }),
    line("BOOKMARK", { metadata: { resourceVersion: "8" } }),
    line("DELETED", widget(3)),
  ].join("");
  answer = (_request, response) => {
    response.writeHead(200);
    for (const byte of Buffer.from(text)) response.write(Buffer.of(byte));
    response.end();
  };
  expect(await watched()).toEqual([
    { type: "added", object: widget(1) },
    { type: "modified", object: { metadata: meta, spec: { color: "größer" } } },
    { type: "bookmark", resourceVersion: "8" },
    { type: "deleted", object: widget(3) },
  ]);
  const query = Object.fromEntries(requests[0]?.url.searchParams ?? []);
  expect(query).toMatchObject({
    watch: "true",
    allowWatchBookmarks: "true",
    resourceVersion: "5",
    fieldSelector: "status.node=a",
  });
  expect(Number(query["timeoutSeconds"])).toBeGreaterThanOrEqual(240);
});

test.each([
  { how: "an answer", answer: refuses(410, "Expired") },
  { how: "an event", answer: says(200, { type: "ERROR", object: { code: 410, reason: "Gone" } }) },
])("a version too old, told by $how, is `expired`", async (given) => {
  answer = given.answer;
  expect(await watched()).toEqual([{ type: "expired" }]);
});

test.each([
  { how: "an error event", answer: says(200, { type: "ERROR", object: { code: 500 } }) },
  { how: "a refusal", answer: refuses(503, "") },
  { how: "half a line", answer: says(200, "x") },
  { how: "an unknown event", answer: says(200, { type: "NEWS", object: {} }) },
])("a watch that ends by $how throws", async (given) => {
  answer = given.answer;
  await expect(watched()).rejects.toMatchObject({ code: "kube-unavailable" });
});

test("a watch whose connection is cut throws, after the events before the cut", async () => {
  answer = (_request, response) => {
    response.write(line("ADDED", widget(1)));
    response.write('{"type":"ADD', () => response.socket?.destroy());
  };
  const events = kube.watch(WIDGET, { resourceVersion: "5" }, call);
  expect(await events.next()).toMatchObject({ value: { type: "added" } });
  await expect(events.next()).rejects.toMatchObject({ code: "kube-unavailable" });
});

test("a silent watch is given up, soonest when it had bookmarks before", async () => {
  let response: ServerResponse | undefined;
  answer = (_request, given) => {
    response = given;
    given.writeHead(200);
    given.write(line("ADDED", widget(1)));
  };
  const events = kube.watch(WIDGET, { resourceVersion: "5" }, call);
  await events.next();
  const bookmark = events.next();
  await clock.advance(239_000);
  response?.write(line("BOOKMARK", { metadata: { resourceVersion: "8" } }));
  expect(await bookmark).toMatchObject({ value: { type: "bookmark" } });
  const last = events.next().catch((error: unknown) => error);
  await clock.advance(101_000);
  expect(await last).toMatchObject({
    code: "kube-unavailable",
    message: expect.stringContaining("silent"),
  });
  const closed = once(response?.socket ?? server, "close");
  await closed;

  const second = kube.watch(WIDGET, { resourceVersion: "5" }, call);
  await second.next();
  const end = second.next().catch((error: unknown) => error);
  await clock.advance(310_000);
  expect(await end).toMatchObject({ code: "kube-unavailable" });
});

test("leaving a watch closes its connection", async () => {
  let closed: Promise<unknown> | undefined;
  answer = (_request, response) => {
    if (response.socket !== null) closed = once(response.socket, "close");
    response.write(line("ADDED", widget(1)));
  };
  for await (const event of kube.watch(WIDGET, { resourceVersion: "5" }, call)) {
    expect(event.type).toBe("added");
    break;
  }
  await closed;
  expect(requests).toHaveLength(1);
});

const event: KubeEvent = {
  regarding: { apiVersion: "weir.storage/v1alpha1", kind: "Volume", name: "v", uid: "u" },
  type: "Warning",
  reason: "Failed",
  note: "x".repeat(2000),
  action: "Reconcile",
};

test("an event is created, and a repetition updates its series", async () => {
  answer = says(201, {});
  await kube.record({ ...event, series: { name: "v.1", count: 1 } }, call);
  await kube.record({ ...event, series: { name: "v.1", count: 5 } }, call);
  const path = "/apis/events.k8s.io/v1/namespaces/default/events";
  expect(requests.map(({ method, url }) => [method, url.pathname])).toEqual([
    ["POST", path],
    ["PATCH", `${path}/v.1`],
  ]);
  const made: unknown = JSON.parse(requests[0]?.body ?? "");
  expect(made).toMatchObject({
    metadata: { name: "v.1", namespace: "default" },
    eventTime: "2030-01-01T00:00:00.000000Z",
    reportingController: "csi.weir.storage",
    reportingInstance: "pod-1",
    note: "x".repeat(1024),
  });
  expect(made).not.toHaveProperty("series");
  expect(JSON.parse(requests[1]?.body ?? "")).toEqual({
    series: { count: 5, lastObservedTime: "2030-01-01T00:00:00.000000Z" },
  });
});

test("a repetition of an event that is forgotten creates it again", async () => {
  answer = (request, response) => {
    const then = request.method === "PATCH" ? refuses(404, "NotFound") : says(201, {});
    then(request, response);
  };
  await kube.record({ ...event, series: { name: "v.1", count: 5 } }, call);
  expect(requests.map(({ method }) => method)).toEqual(["PATCH", "POST"]);
});
