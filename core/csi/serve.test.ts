// Goal: a client of a served socket gets the handler's answer or the fault's status and sentence,
// its cancellation reaches the handler, and several processes can
// hold the socket's name one after the other without a moment in which it leads nowhere.
// Method: real unix sockets and the generated client; the clock's own timers are real, no test
// waits for one except the drain's, which is zero or ended by the call itself.
import { status } from "@grpc/grpc-js";
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { FAULTS, WeirError, type FaultCode } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { realClock } from "../runtime/real-ports.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { RpcClient } from "../../test/support/rpc-client.ts";
import {
  NodeGetVolumeStatsRequest,
  NodeGetVolumeStatsResponse,
  NodeService,
} from "./generated/csi.ts";
import { rpcService, type EndedCall, type Handlers, type RpcCall } from "./rpc-service.ts";
import { serveCsi, type CsiServer } from "./serve.ts";

let folder: string;
let socketPath: string;
let servers: CsiServer[];
let clients: RpcClient[];
let calls: EndedCall[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-csi-"));
  socketPath = join(folder, "csi.sock");
  servers = [];
  clients = [];
  calls = [];
});

afterEach(async () => {
  for (const client of clients) client[Symbol.dispose]();
  await Promise.all(servers.map((server) => server.close({ drainMs: 0 })));
  rmSync(folder, { recursive: true });
});

async function serve(handlers: Handlers<typeof NodeService>, seed = 1, clock = realClock) {
  const server = await serveCsi({
    socketPath,
    services: [rpcService(NodeService, handlers)],
    clock,
    random: new SeededRandom(seed),
    log: pino({ level: "info" }, captureLogs()),
    onCall: (call) => calls.push(call),
  });
  servers.push(server);
  return server;
}

function connect(): RpcClient {
  const client = new RpcClient(socketPath);
  clients.push(client);
  return client;
}

const stats = NodeGetVolumeStatsRequest.fromPartial({ volumeId: "data", volumePath: "/v" });

/** The sizes that the stats call answers, or the error. */
async function ask(client: RpcClient): Promise<unknown> {
  try {
    return (await client.call(NodeService.nodeGetVolumeStats, stats)).usage[0]?.total;
  } catch (error) {
    return error;
  }
}

function usage(total: bigint) {
  return NodeGetVolumeStatsResponse.fromPartial({ usage: [{ total }] });
}

const answering = (total: bigint): Handlers<typeof NodeService> => ({
  nodeGetVolumeStats: () => Promise.resolve(usage(total)),
});

describe("calls", () => {
  test("64-bit numbers arrive whole", async () => {
    await serve(answering(2n ** 63n - 1n));
    expect(await ask(connect())).toBe(2n ** 63n - 1n);
    expect(calls).toMatchObject([{ method: "/csi.v1.Node/NodeGetVolumeStats", code: "OK" }]);
  });

  const codes = Object.keys(FAULTS).filter((code): code is FaultCode => code in FAULTS);
  test.each(codes)("a %s fault has its status, sentence and details", async (code) => {
    if (FAULTS[code].level !== "info") expectLog(/RPC failed/u);
    const fault = new WeirError(code, "do this", { details: { path: "/v", unset: undefined } });
    await serve({ nodeGetVolumeStats: () => Promise.reject(fault) });
    expect(await ask(connect())).toMatchObject({
      code: status[FAULTS[code].grpc],
      details: "do this (path: /v)",
    });
    expect(calls).toMatchObject([{ code: FAULTS[code].grpc }]);
  });

  test("what is no fault of ours shows nothing of itself", async () => {
    expectLog(/RPC failed/u);
    await serve({ nodeGetVolumeStats: () => Promise.reject(new Error("secret")) });
    const error = await ask(connect());
    expect(error).toMatchObject({ code: status.INTERNAL });
    expect(String(error)).not.toContain("secret");
  });

  test("a method that is left out is UNIMPLEMENTED", async () => {
    await serve({});
    expect(await ask(connect())).toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test("the caller's deadline aborts the handler's signal", async () => {
    const { promise, resolve } = Promise.withResolvers<RpcCall>();
    const done = Promise.withResolvers<void>();
    await serve({
      nodeGetVolumeStats: async (_request, call) => {
        resolve(call);
        await done.promise;
        return usage(1n);
      },
    });
    const caller = new AbortController();
    const options = { signal: caller.signal };
    const client = connect();
    const answer = client.call(NodeService.nodeGetVolumeStats, stats, options).catch(String);
    const { signal } = await promise;
    expect(signal.aborted).toBe(false);
    const aborted = new Promise((resolveAbort) => {
      signal.addEventListener("abort", resolveAbort, { once: true });
    });
    caller.abort();
    await aborted;
    expect(await answer).toMatch(/CANCELLED/u);
    done.resolve();
    expect(signal.reason).toMatchObject({ code: "aborted" });
  });
});

describe("the socket", () => {
  test("is closed to other users and leaves nothing else behind", async () => {
    await serve(answering(1n));
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toStrictEqual(["csi.sock"]);
  });

  test("goes to a successor, and the predecessor's end does not take it away", async () => {
    const first = await serve(answering(1n), 1);
    const early = connect();
    expect(await ask(early)).toBe(1n);
    await serve(answering(2n), 2);
    expect(await ask(connect())).toBe(2n);
    await first.close({ drainMs: 0 });
    servers.shift();
    expect(lstatSync(socketPath).isSocket()).toBe(true);
    expect(await ask(connect())).toBe(2n);
  });

  test("stays after its last holder", async () => {
    await (await serve(answering(1n))).close({ drainMs: 0 });
    servers.pop();
    expect(existsSync(socketPath)).toBe(true);
    await serve(answering(3n), 3);
    expect(await ask(connect())).toBe(3n);
  });

  test("that a dead process took over is taken back", async () => {
    const clock = new FakeClock();
    const first = await serve(answering(1n), 1, clock);
    servers.pop();
    const other = await serve(answering(2n), 2);
    await other.close({ drainMs: 0 });
    servers.pop();
    expect(await ask(connect())).toMatchObject({ code: status.UNAVAILABLE });
    const before = statSync(socketPath).ino;
    await clock.advance(5_000);
    while (statSync(socketPath).ino === before) await new Promise(setImmediate);
    const client = connect();
    expect(await ask(client)).toBe(1n);
    client[Symbol.dispose]();
    await clock.runUntil(first.close({ drainMs: 0 }));
  });

  test("whose directory is a file is refused with a sentence", async () => {
    socketPath = join(folder, "file", "csi.sock");
    writeFileSync(join(folder, "file"), "");
    await expect(serve({})).rejects.toMatchObject({ code: "invalid-argument" });
  });

  test("whose path is too long is refused with a sentence", async () => {
    socketPath = join(folder, "x".repeat(100), "csi.sock");
    await expect(serve({})).rejects.toMatchObject({ code: "invalid-argument" });
  });
});

describe("closing", () => {
  test("waits for the calls that run", async () => {
    const started = Promise.withResolvers<void>();
    const done = Promise.withResolvers<void>();
    const server = await serve({
      nodeGetVolumeStats: async () => {
        started.resolve();
        await done.promise;
        return usage(7n);
      },
    });
    const answer = ask(connect());
    await started.promise;
    const closed = server.close({ drainMs: 60_000 });
    done.resolve();
    expect(await answer).toBe(7n);
    await closed;
    servers.pop();
  });

  test("tells a call that does not end to end", async () => {
    const started = Promise.withResolvers<void>();
    const server = await serve({
      nodeGetVolumeStats: async (_request, { signal }) => {
        started.resolve();
        await new Promise((resolve) => {
          signal.addEventListener("abort", resolve, { once: true });
        });
        throw new WeirError("aborted", "ending");
      },
    });
    const answer = ask(connect());
    await started.promise;
    await server.close({ drainMs: 0 });
    servers.pop();
    expect(await answer).toMatchObject({ code: status.ABORTED });
  });
});
