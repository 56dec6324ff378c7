// Goal: what the S3 store does with answers that no healthy server gives, and what it sends.
// Method: a scripted HTTP server on loopback; deadlines run on the fake clock. What a healthy
// server gives is in s3-store.s3.test.ts.

import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { crc32 } from "node:zlib";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { Secret } from "../runtime/secret.ts";
import { S3Store } from "./s3-store.ts";

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

let handle: Handler = () => {};
let requests: { method: string; url: string; headers: IncomingMessage["headers"]; body: Buffer }[];

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    const { method = "", url = "", headers } = request;
    requests.push({ method, url, headers, body });
    handle(request, response, body);
  });
});

let port = 0;
const clock = new FakeClock({ wallMs: Date.UTC(2030, 0, 1) });
let store: S3Store;

beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address === "object" && address !== null) ({ port } = address);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function open(prefix = "p"): void {
  requests = [];
  store = new S3Store({
    ...{ bucket: "bucket", prefix, endpoint: `http://127.0.0.1:${port}`, region: "us-east-1" },
    credentials: { accessKeyId: "key-id", secretAccessKey: new Secret("canary-4711") },
    clock,
  });
}
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  if (clock.timerCount > 0) throw new Error("a request left its timer behind");
});

const body = new Uint8Array([1, 2, 3]);

/** Answers as S3 does: an error code in XML. */
function answer(status: number, code: string): Handler {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/xml" });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`);
  };
}

function send(status: number, headers: Record<string, string | number>, content: string): Handler {
  return (_request, response) => {
    response.writeHead(status, { "content-length": content.length, ...headers });
    response.end(content);
  };
}

describe("create", () => {
  test("sends one unsigned-payload PUT with If-None-Match and a CRC32", async () => {
    open("some/prefix");
    handle = send(200, { etag: '"x"' }, "");
    expect(await store.create("a/b", body)).toEqual({ kind: "created" });
    const [request] = requests;
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    expect(request).toMatchObject({ method: "PUT", body: Buffer.from(body) });
    expect(request?.url).toMatch(/^\/bucket\/some\/prefix\/a\/b(?:\?|$)/u);
    expect(request?.headers).toMatchObject({
      "if-none-match": "*",
      "content-length": "3",
      "x-amz-checksum-crc32": sum.toString("base64"),
      "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
      authorization: expect.stringContaining("Credential=key-id/"),
    });
    expect(request?.headers["authorization"]).toMatch(/SignedHeaders=[^,]*if-none-match/u);
    expect(request?.headers).not.toHaveProperty("expect");
  });

  test.each([
    [412, "PreconditionFailed", "exists"],
    [409, "ConditionalRequestConflict", "conflict"],
    [500, "InternalError", "ambiguous"],
    [503, "SlowDown", "ambiguous"],
  ])("%d %s is %s, after one request", async (status, code, kind) => {
    open();
    handle = answer(status, code);
    expect(await store.create("a", body)).toMatchObject({ kind });
    expect(requests).toHaveLength(1);
  });

  test.each([
    [403, "AccessDenied", "store-denied"],
    [404, "NoSuchBucket", "store-missing"],
    [501, "NotImplemented", "backend-unsafe"],
    [301, "PermanentRedirect", "invalid-argument"],
  ])("%d %s throws %s, after one request", async (status, code, fault) => {
    open();
    handle = answer(status, code);
    await expect(store.create("a", body)).rejects.toMatchObject({ code: fault });
    expect(requests).toHaveLength(1);
  });

  test.each([
    ["204", send(204, { etag: '"x"' }, "")],
    ["200 of something that is not S3", send(200, {}, "welcome")],
  ])("%s is no success", async (_, handler) => {
    open();
    handle = handler;
    expect(await store.create("a", body)).toMatchObject({
      kind: "ambiguous",
      cause: { code: "store-unavailable" },
    });
  });

  test("a connection that breaks before the answer is ambiguous", async () => {
    open();
    handle = (request) => request.socket.destroy();
    expect(await store.create("a", body)).toMatchObject({ kind: "ambiguous" });
    expect(requests).toHaveLength(1);
  });

  test("an answer that never comes is ambiguous at a deadline that grows with bytes", async () => {
    open();
    handle = () => {};
    const outcome = store.create("a", new Uint8Array(2 ** 20));
    await vi.waitFor(() => expect(requests).toHaveLength(1));
    // 15 s, and 8 s for a mebibyte at 128 KiB/s.
    await clock.advance(22_999);
    expect(clock.timerCount).toBe(1);
    await clock.advance(1);
    expect(await outcome).toMatchObject({
      kind: "ambiguous",
      cause: { message: expect.stringContaining("did not answer in time") },
    });
  });

  test("a caller that gives up gets `ambiguous`: the request may have landed", async () => {
    open();
    handle = () => {};
    const controller = new AbortController();
    const outcome = store.create("a", body, { signal: controller.signal });
    await vi.waitFor(() => expect(requests).toHaveLength(1));
    controller.abort(new WeirError("fenced", "the test ends it"));
    expect(await outcome).toMatchObject({ kind: "ambiguous" });
  });

  test("nothing that listens means that nothing landed", async () => {
    open();
    await using unreachable = new S3Store({
      ...{ bucket: "bucket", prefix: "", endpoint: "http://127.0.0.1:1", region: "us-east-1" },
      credentials: { accessKeyId: "key-id", secretAccessKey: new Secret("x") },
      clock,
    });
    await expect(unreachable.create("a", body)).rejects.toMatchObject({
      code: "store-unavailable",
      message: expect.stringContaining("nothing answers at the S3 endpoint"),
    });
  });
});

describe("get", () => {
  test("takes `absent` only from S3 itself", async () => {
    open();
    handle = answer(404, "NoSuchKey");
    expect(await store.get("a")).toEqual({ kind: "absent" });
    handle = send(404, { "content-type": "text/html" }, "<h1>Not Found</h1>");
    await expect(store.get("a")).rejects.toMatchObject({ code: "store-missing" });
  });

  test("a range is asked for exactly", async () => {
    open();
    handle = send(206, { "content-range": "bytes 5-7/100" }, "abc");
    const found = await store.get("a", { range: { offset: 5, length: 3 } });
    expect(requests[0]?.headers["range"]).toBe("bytes=5-7");
    expect(found).toEqual({
      kind: "found",
      bytes: new TextEncoder().encode("abc"),
      objectBytes: 100,
    });
  });

  test.each([
    ["another offset", { "content-range": "bytes 4-6/100" }],
    ["fewer bytes", { "content-range": "bytes 5-6/100" }],
    ["more bytes", { "content-range": "bytes 5-8/100" }],
    ["the whole object", {}],
    ["an unknown size", { "content-range": "bytes 5-7/*" }],
  ])("a server that sends %s is not believed", async (_, headers) => {
    open();
    handle = send(206, headers, "abc");
    await expect(store.get("a", { range: { offset: 5, length: 3 } })).rejects.toMatchObject({
      code: "store-unavailable",
      message: "the S3 service sent another part than was asked for",
    });
  });

  test("an object that is larger than memory should hold is not read", async () => {
    open();
    handle = (_request, response) => {
      response.writeHead(200, { "content-length": 2 ** 40 });
      response.write("x");
    };
    await expect(store.get("a")).rejects.toMatchObject({ code: "store-unavailable" });
  });

  test.each(["ab", "abcd"])("a body of another length than its range is a fault", async (sent) => {
    open();
    handle = (_request, response) => {
      response.writeHead(206, { "content-range": "bytes 5-7/100", "transfer-encoding": "chunked" });
      response.end(sent);
    };
    await expect(store.get("a", { range: { offset: 5, length: 3 } })).rejects.toMatchObject({
      code: "store-unavailable",
      message: expect.stringMatching(/sent (?:fewer|more) bytes than it promised/u),
    });
  });

  test("a body that is cut is a fault, never a short object", async () => {
    open();
    handle = (request, response) => {
      response.writeHead(200, { "content-length": 10 });
      response.write("abc", () => request.socket.destroy());
    };
    await expect(store.get("a")).rejects.toMatchObject({ code: "store-unavailable" });
  });

  test("a body that stops half-way ends with its deadline", async () => {
    open();
    handle = (_request, response) => {
      response.writeHead(200, { "content-length": 2 ** 20 });
      response.write("abc");
    };
    const before = clock.monotonicMs();
    const failure = store.get("a").catch((error: unknown) => error);
    // The headers' deadline has given way to the body's.
    await vi.waitFor(() => expect(clock.nextTimerAtMs()).toBe(before + 23_000));
    await clock.advance(23_000);
    expect(await failure).toMatchObject({
      code: "store-unavailable",
      message: expect.stringContaining("did not answer in time"),
    });
  });

  test("an abort while the body comes is the caller's reason", async () => {
    open();
    handle = (_request, response) => {
      response.writeHead(200, { "content-length": 2 ** 20 });
      response.write("abc");
    };
    const before = clock.monotonicMs();
    const controller = new AbortController();
    const reason = new WeirError("fenced", "the test ends it");
    const { signal } = controller;
    const failure = store.get("a", { signal }).catch((error: unknown) => error);
    await vi.waitFor(() => expect(clock.nextTimerAtMs()).toBe(before + 23_000));
    controller.abort(reason);
    expect(await failure).toBe(reason);
  });
});

describe("list", () => {
  const listing = (keys: string[], isTruncated: boolean): string => `<?xml version="1.0"?>
    <ListBucketResult><IsTruncated>${isTruncated}</IsTruncated>${keys
      .map(
        (key) =>
          `<Contents><Key>${key}</Key><LastModified>2030-01-01T00:00:00.000Z</LastModified>` +
          `<Size>7</Size></Contents>`,
      )
      .join("")}</ListBucketResult>`;

  test("asks behind `after`, takes the prefix off, and leaves strangers' objects out", async () => {
    open();
    const xml = listing(["p/a/1", "p/a/Stranger", "p/a/dir/"], true);
    handle = send(200, { "content-type": "application/xml" }, xml);
    expect(await store.list("a/", { after: "a/0", limit: 3 })).toEqual({
      objects: [{ key: "a/1", sizeBytes: 7, modifiedAtMs: Date.UTC(2030, 0, 1) }],
      next: "a/dir/",
    });
    const query = new URL(requests[0]?.url ?? "", "http://x").searchParams;
    expect(Object.fromEntries(query)).toMatchObject({
      "list-type": "2",
      "max-keys": "3",
      prefix: "p/a/",
      "start-after": "p/a/0",
    });
  });

  test("an answer that is no listing is a fault, not an empty store", async () => {
    open();
    handle = send(200, { "content-type": "text/html" }, "<html><body>Welcome</body></html>");
    await expect(store.list("")).rejects.toMatchObject({ code: "store-unavailable" });
  });
});

test("no fault or label shows the secret or the signature", async () => {
  open();
  handle = answer(403, "SignatureDoesNotMatch");
  const fault: unknown = await store.create("a", body).catch((error: unknown) => error);
  const shown = JSON.stringify(fault) + String(fault) + store.label;
  expect(shown).not.toContain("canary-4711");
  expect(shown).not.toMatch(/signature=[0-9a-f]/iu);
  expect(shown).not.toContain(createHash("sha256").update("canary-4711").digest("hex"));
});
