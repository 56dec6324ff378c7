// Goal: a caller of ControlClient sees exactly what it would see from the engine in its own
// process: results, faults, progress, and its own cancellation; and nothing that a client sends
// can hurt the server. Method: server and client over a real unix socket, with a fake EngineApi;
// raw requests by node:http.
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { WeirError } from "../../core/runtime/errors.ts";
import { asEpoch, asNonce, asSeq, asSnapshotUid, asVolumeUid } from "../../core/runtime/ids.ts";
import { abortReason } from "../../core/runtime/timer-signals.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { volumePolicySchema } from "../engine/config.ts";
import { ControlClient } from "./control-client.ts";
import { ControlServer } from "./control-server.ts";
import { controlSocketPath, isServed } from "./control-socket.ts";
import type { AttachedVolume, CallContext, EngineApi } from "./engine-api.ts";
import { LINE_BYTES_MAX, REQUEST_BYTES_MAX } from "./messages.ts";

const ATTACHED: AttachedVolume = {
  uid: asVolumeUid("ab".repeat(16)),
  name: "data",
  epoch: 3,
  durability: "local",
  uploadedBytes: 4096,
  strandedJournal: undefined,
  fault: undefined,
  trouble: { code: "store-unavailable", message: "the store does not answer" },
  transport: { kind: "nbd", socketPath: "/run/x.nbd", uri: "nbd+unix:///?socket=/run/x.nbd" },
  sizeBytes: 1 << 30,
  dirtyBytes: 8192,
  dirtyAgeMs: 12.5,
  unbatchedBytes: 0,
  journalUsedBytes: 1,
  journalCapacityBytes: 2,
  journalIndexBytes: 3,
  mapBytes: 4,
  mapExtents: 5,
  reads: 6,
  writes: 7,
  flushes: 8,
  discards: 9,
  readBytes: 10,
  writtenBytes: 11,
  fetches: 12,
  held: 13,
  ioErrors: 14,
  committedEpoch: 2,
  committedSeq: 15,
  journalEnd: 11,
  replayedRecords: 16,
};

const SNAPSHOT: SnapshotRecord = {
  format: 1,
  uid: asSnapshotUid("01".repeat(16)),
  name: "monday",
  volume: ATTACHED.uid,
  position: { epoch: asEpoch(2), seq: asSeq(15) },
  checkpoint: { volume: ATTACHED.uid, epoch: asEpoch(2), seq: asSeq(15) },
  sizeBytes: 1 << 30,
  createdAtMs: 1_900_000_000_000,
  nonce: asNonce("02".repeat(16)),
};

const CACHE = { ramHits: 1, fileHits: 2, misses: 3, ramBytes: 4, fileBytes: 5, corrupt: 6 };
const HANDOFF = {
  ...{ outcome: "taken", generation: 2, reason: undefined, peerBuild: "0.0.1" },
  ...{ phasesMs: { window: 4.5 }, worstStallUs: 2_400, endedAtMs: 1_900_000_000_000 },
  devices: [{ uid: "1", transport: "ublk" as const, stallUs: 2_400, phasesUs: { freeze: 300 } }],
};
const NBD = { kind: "nbd" } as const;
const POLICY = volumePolicySchema.parse({ durability: "s3" });

/** Remembers its calls; each test replaces the methods it needs. */
class FakeEngine implements EngineApi {
  readonly calls: unknown[] = [];
  status = () =>
    Promise.resolve({
      ...{ store: "memory:", volumes: [ATTACHED], waiting: [], cache: CACHE },
      handoff: HANDOFF,
    });
  attach = (options: unknown): Promise<AttachedVolume> => {
    this.calls.push(options);
    return Promise.resolve(ATTACHED);
  };
  detach = (options: unknown, _context: CallContext): Promise<void> => {
    this.calls.push(options);
    return Promise.resolve();
  };
  snapshot = (options: unknown): Promise<SnapshotRecord> => {
    this.calls.push(options);
    return Promise.resolve(SNAPSHOT);
  };
  grow = (options: unknown): Promise<void> => {
    this.calls.push(options);
    return Promise.resolve();
  };
}

let folder: string;
let socketPath: string;
let engine: FakeEngine;
let server: ControlServer;
let client: ControlClient;
const context = (): CallContext => ({ signal: new AbortController().signal });

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "weir-control-"));
  socketPath = controlSocketPath(folder);
  engine = new FakeEngine();
  server = await serve();
  client = new ControlClient({ socketPath });
});

afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

function serve(): Promise<ControlServer> {
  return ControlServer.listen({
    engine,
    socketPath,
    random: new SeededRandom(1),
    log: pino({}, captureLogs()),
  });
}

async function faultOf(call: Promise<unknown>): Promise<WeirError> {
  const got = await call.then(
    () => "it worked",
    (cause: unknown) => cause,
  );
  if (got instanceof WeirError) return got;
  throw new Error(`a WeirError was expected, not ${String(got)}`);
}

interface RawAnswer {
  readonly status: number | undefined;
  readonly lines: readonly unknown[];
}

/** A request that ControlClient would never send. */
function raw(options: { path: string; method?: string; body?: string }): Promise<RawAnswer> {
  const { path, method = "POST", body = "" } = options;
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, method, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => {
        const lines: unknown[] = text
          .split("\n")
          .filter((line) => line !== "")
          .map((line) => JSON.parse(line));
        resolve({ status: response.statusCode, lines });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

describe("calls", () => {
  test("every method arrives with its options and brings its result back", async () => {
    // An absent key and `undefined` are the same to every reader.
    expect(await client.status(context())).toEqual({
      store: "memory:",
      volumes: [ATTACHED],
      waiting: [],
      cache: CACHE,
      handoff: HANDOFF,
    });
    const attach = { name: "data", transport: NBD, policy: POLICY };
    expect(await client.attach(attach, context())).toEqual(ATTACHED);
    const snapshot = { name: "data", snapshot: "monday" };
    expect(await client.snapshot(snapshot, context())).toStrictEqual(SNAPSHOT);
    const grow = { name: "data", sizeBytes: 2 ** 40 };
    expect(await client.grow(grow, context())).toBeUndefined();
    const detach = { name: "data", force: true };
    expect(await client.detach(detach, context())).toBeUndefined();
    expect(engine.calls).toStrictEqual([attach, snapshot, grow, detach]);
  });

  test("a fault keeps its code, its sentence and its details", async () => {
    engine.grow = () => {
      const details = { name: "data", sizeBytes: 5, isNew: false, none: undefined };
      return Promise.reject(new WeirError("in-use", "it is in use", { details }));
    };
    const fault = await faultOf(client.grow({ name: "data", sizeBytes: 1 }, context()));
    expect([fault.code, fault.message]).toStrictEqual(["in-use", "it is in use"]);
    expect(fault.details).toStrictEqual({ name: "data", sizeBytes: 5, isNew: false });
  });

  test("a defect of the engine shows as internal, its text only in the log", async () => {
    expectLog(/a control call failed unexpectedly/u);
    engine.grow = () => Promise.reject(new TypeError("secret detail"));
    const fault = await faultOf(client.grow({ name: "data", sizeBytes: 1 }, context()));
    expect(fault.code).toBe("internal");
    expect(fault.message).not.toContain("secret");
  });

  test("progress arrives in order, before the result", async () => {
    engine.detach = (_options, { onProgress }) => {
      for (const left of [300, 200, 100, 0]) onProgress?.(left);
      return Promise.resolve();
    };
    const seen: number[] = [];
    await client.detach(
      { name: "data", force: false },
      { ...context(), onProgress: (left) => seen.push(left) },
    );
    expect(seen).toStrictEqual([300, 200, 100, 0]);
  });
});

describe("cancellation", () => {
  /** A detach that ends only by its signal; tells when it began and how it was ended. */
  function hangingDetach() {
    const began = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<Error>();
    engine.detach = (_options, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          ended.resolve(abortReason(signal));
          reject(abortReason(signal));
        });
        began.resolve();
      });
    return { began: began.promise, ended: ended.promise };
  }

  test("aborting the caller's signal aborts the call in the engine", async () => {
    const { began, ended } = hangingDetach();
    const controller = new AbortController();
    const call = client.detach({ name: "data", force: false }, { signal: controller.signal });
    const fault = faultOf(call);
    await began;
    controller.abort(new WeirError("deadline-exceeded", "it took too long"));
    expect((await fault).code).toBe("deadline-exceeded");
    expect((await ended).message).toBe("the caller went away");
  });

  test("a client that dies in the middle of a call aborts it", async () => {
    const { began, ended } = hangingDetach();
    const body = JSON.stringify({ name: "data", force: false });
    const socket = createConnection(socketPath);
    socket.write(
      `POST /v1/detach HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await began;
    socket.destroy();
    expect((await ended).message).toBe("the caller went away");
  });

  test("closing the server aborts calls, waits for them and tells their clients", async () => {
    const { began } = hangingDetach();
    const fault = faultOf(client.detach({ name: "data", force: false }, context()));
    await began;
    await server.close();
    expect([(await fault).code, (await fault).message]).toStrictEqual([
      "aborted",
      "the engine is ending: try again when it is back",
    ]);
    expect(await isServed(socketPath)).toBe(false);
  });

  test("a signal that is aborted already sends nothing", async () => {
    const options = { name: "data", force: false };
    const fault = await faultOf(client.detach(options, { signal: AbortSignal.abort() }));
    expect(fault.code).toBe("aborted");
    expect(engine.calls).toStrictEqual([]);
  });
});

describe("bad requests", () => {
  const attach = { name: "data", transport: NBD, policy: {} };
  test.each([
    ["an unknown call", { path: "/v1/format" }, 404],
    ["another version", { path: "/v2/status" }, 404],
    ["a path of the object prototype", { path: "/v1/toString" }, 404],
    ["another HTTP method", { path: "/v1/status", method: "GET" }, 405],
    ["an empty body", { path: "/v1/attach" }, 400],
    ["half a JSON document", { path: "/v1/attach", body: '{"name":' }, 400],
    ["another JSON value", { path: "/v1/attach", body: "[]" }, 200],
    ["a missing field", { path: "/v1/detach", body: '{"name":"data"}' }, 200],
    ["a wrong type", { path: "/v1/grow", body: '{"name":"data","sizeBytes":"1"}' }, 200],
    ["a negative size", { path: "/v1/grow", body: '{"name":"data","sizeBytes":-1}' }, 200],
    ["no name", { path: "/v1/attach", body: JSON.stringify({ ...attach, name: "" }) }, 200],
    [
      "a relative socket",
      {
        path: "/v1/attach",
        body: JSON.stringify({ ...attach, transport: { kind: "nbd", socketPath: "x" } }),
      },
      200,
    ],
    ["a body too large", { path: "/v1/grow", body: "x".repeat(REQUEST_BYTES_MAX + 1) }, 413],
  ])("%s is refused and the engine is not asked", async (_what, options, status) => {
    const answer = await raw(options);
    expect(answer.status).toBe(status);
    expect(answer.lines).toMatchObject([{ fault: { code: "invalid-argument" } }]);
    expect(engine.calls).toStrictEqual([]);
    // And the server still serves.
    await client.grow({ name: "data", sizeBytes: 1 }, context());
    expect(engine.calls).toHaveLength(1);
  });

  test("a body too large is refused before its end, and the refusal arrives", async () => {
    const socket = createConnection(socketPath);
    socket.write("POST /v1/grow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    socket.write("x".repeat(REQUEST_BYTES_MAX + 1));
    const [answer] = await once(socket.setEncoding("utf8"), "data");
    expect(answer).toMatch(/^HTTP\/1\.1 413 /u);
    socket.destroy();
  });

  test("fields that are not known are ignored", async () => {
    const body = JSON.stringify({ name: "data", sizeBytes: 4096, color: "blue" });
    expect(await raw({ path: "/v1/grow", body })).toStrictEqual({
      status: 200,
      lines: [{ result: null }],
    });
    expect(engine.calls).toStrictEqual([{ name: "data", sizeBytes: 4096 }]);
  });
});

describe("bad answers", () => {
  /** A server that answers every connection with these bytes, and then ends or falls silent. */
  async function answering(body: string, then: "end" | "silence" = "end") {
    const path = join(folder, "other.sock");
    const other = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${body}`);
        if (then === "end") socket.end();
      });
    });
    await new Promise<void>((resolve) => {
      other.listen(path, resolve);
    });
    other.unref();
    return new ControlClient({ socketPath: path });
  }

  test.each([
    ["the engine ends before it answers", "", "engine-unavailable"],
    ["the engine ends in the middle of a line", '{"result":nu', "engine-unavailable"],
    ["a line is not JSON", "hello\n", "internal"],
    ["a line is of no known kind", '{"news":1}\n', "internal"],
    ["a result is of another shape", '{"result":{"store":1}}\n', "internal"],
    [
      "a fault has a code of a newer release",
      '{"fault":{"code":"on-fire","message":"m","details":{}}}\n',
      "internal",
    ],
  ])("%s", async (_what, body, code) => {
    const other = await answering(body);
    expect((await faultOf(other.status(context()))).code).toBe(code);
  });

  test("a line that never ends is given up", async () => {
    const other = await answering("x".repeat(LINE_BYTES_MAX + 1), "silence");
    expect((await faultOf(other.status(context()))).code).toBe("engine-unavailable");
  });
});

describe("the socket", () => {
  test("is closed to other users", () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  test("without an engine gives a clear fault", async () => {
    await server.close();
    expect((await faultOf(client.status(context()))).code).toBe("engine-unavailable");
    writeFileSync(socketPath, "");
    expect((await faultOf(client.status(context()))).code).toBe("engine-unavailable");
  });

  test("a second engine is refused and the first one goes on", async () => {
    expect((await faultOf(serve())).code).toBe("in-use");
    expect((await client.status(context())).store).toBe("memory:");
  });

  test("one that a dead engine left behind is replaced", async () => {
    await server.close();
    // A file without a listener behind it is what SIGKILL leaves.
    writeFileSync(socketPath, "");
    expect(await isServed(socketPath)).toBe(false);
    server = await serve();
    expect((await client.status(context())).store).toBe("memory:");
  });

  test("closing takes away only one's own", async () => {
    rmSync(socketPath);
    const successor = await serve();
    await server.close();
    expect((await client.status(context())).store).toBe("memory:");
    await successor.close();
    expect(await isServed(socketPath)).toBe(false);
  });

  test("a path that no socket can have is refused", async () => {
    socketPath = join(folder, "x".repeat(100), "control.sock");
    expect((await faultOf(serve())).code).toBe("invalid-argument");
    expect((await faultOf(isServed(socketPath))).code).toBe("invalid-argument");
  });
});

test("an engine that takes over takes the socket's name, and keeps it", async () => {
  const former = server;
  server = await ControlServer.listen({
    ...{ engine, socketPath, random: new SeededRandom(2), replace: true },
    log: pino({}, captureLogs()),
  });
  await former.close();
  expect(await client.status(context())).toMatchObject({ store: "memory:" });
});
