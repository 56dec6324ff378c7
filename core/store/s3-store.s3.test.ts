// Goal: the S3 store keeps the port's promise on a real server, and says the right thing when that
// server refuses, dies or falls silent. Method: versitygw; the common contract suite; connections
// cut at chosen bytes by a proxy.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { startTcpProxy } from "../../test/support/tcp-proxy.ts";
import { type Versitygw, startVersitygw } from "../../test/support/versitygw.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import type { Clock } from "../runtime/ports.ts";
import { realClock, realRandom } from "../runtime/real-ports.ts";
import { Secret } from "../runtime/secret.ts";
import { openStore } from "./open-store.ts";
import { probeStore } from "./probe.ts";
import { S3Store } from "./s3-store.ts";
import { describeStoreContract } from "./store-contract.ts";

const server = await startVersitygw();
afterAll(() => server[Symbol.asyncDispose]());

function credentialsOf({ accessKeyId, secretAccessKey }: Versitygw): {
  accessKeyId: string;
  secretAccessKey: Secret;
} {
  return { accessKeyId, secretAccessKey: new Secret(secretAccessKey) };
}

function storeAt(options: {
  readonly prefix: string;
  readonly port?: number;
  readonly bucket?: string;
  readonly secret?: string;
  readonly clock?: Clock;
  readonly gateway?: Versitygw;
}): S3Store {
  const { prefix, bucket = "weir", clock = realClock, gateway = server } = options;
  const credentials = credentialsOf(gateway);
  const { secret } = options;
  return new S3Store({
    bucket,
    prefix,
    endpoint: `http://127.0.0.1:${options.port ?? gateway.port}`,
    region: "us-east-1",
    credentials:
      secret === undefined ? credentials : { ...credentials, secretAccessKey: new Secret(secret) },
    clock,
  });
}

describeStoreContract("S3, versitygw", async () => storeAt({ prefix: "contract" }));
describeStoreContract("S3, versitygw, the whole bucket", async () => {
  const gateway = await startVersitygw();
  const store = storeAt({ prefix: "", gateway });
  const dispose = store[Symbol.asyncDispose].bind(store);
  store[Symbol.asyncDispose] = async () => {
    await dispose();
    await gateway[Symbol.asyncDispose]();
  };
  return store;
});

const small = new Uint8Array([1, 2, 3]);
const large = new Uint8Array(8 * 2 ** 20).fill(7);

describe("a real S3 server", () => {
  test("passes the probe, and nothing is left of it", async () => {
    const url = server.storeUrl("probed");
    await using store = await openStore(url, {
      clock: realClock,
      random: realRandom,
      credentials: credentialsOf(server),
    });
    const report = await probeStore(store, { random: realRandom });
    expect(report.steps.map((step) => step.outcome)).toEqual(Array(6).fill("passed"));
    expect(await store.list("")).toEqual({ objects: [] });
  });

  test("keeps prefixes apart", async () => {
    await using one = storeAt({ prefix: "apart/1" });
    await using other = storeAt({ prefix: "apart/11" });
    await one.create("a", large);
    expect(await other.get("a")).toEqual({ kind: "absent" });
    expect(await other.list("")).toEqual({ objects: [] });
    const files = await readdir(join(server.bucketFolder, "apart"));
    expect(files).toEqual(["1"]);
  });

  test("that refuses the key is `store-denied` on every call", async () => {
    await using store = storeAt({ prefix: "denied", secret: "wrong" });
    const denied = { code: "store-denied" };
    await expect(store.create("a", small)).rejects.toMatchObject(denied);
    await expect(store.get("a")).rejects.toMatchObject(denied);
    await expect(store.list("")).rejects.toMatchObject(denied);
    await expect(store.delete("a")).rejects.toMatchObject(denied);
  });

  test("without the bucket is `store-missing` on every call, never `absent`", async () => {
    await using store = storeAt({ prefix: "a", bucket: "nobody-made-this" });
    const missing = { code: "store-missing" };
    await expect(store.create("a", small)).rejects.toMatchObject(missing);
    await expect(store.get("a")).rejects.toMatchObject(missing);
    await expect(store.list("")).rejects.toMatchObject(missing);
    await expect(store.delete("a")).rejects.toMatchObject(missing);
  });

  test("checks the CRC32 of what it receives", async () => {
    // A flipped bit on the way: the proxy cannot change bytes, so the body changes after its sum.
    await using store = storeAt({ prefix: "crc" });
    const body = large.slice();
    const outcome = store.create("a", body);
    body[5] = 0;
    await expect(outcome).rejects.toMatchObject({ details: { status: 400 } });
    expect(await store.get("a")).toEqual({ kind: "absent" });
  });
});

describe("a connection that is lost", () => {
  test("while a PUT is sent, leaves no object, and the next PUT succeeds", async () => {
    await using proxy = await startTcpProxy(server.port, {
      toServer: (bytes) => (bytes > 2 ** 20 ? "cut" : "pass"),
    });
    await using store = storeAt({ prefix: "cut", port: proxy.port });
    await using direct = storeAt({ prefix: "cut" });
    expect(await store.create("a", large)).toMatchObject({ kind: "ambiguous" });
    expect(await direct.get("a")).toEqual({ kind: "absent" });
    expect(await direct.create("a", large)).toEqual({ kind: "created" });
  });

  test("before the answer to a PUT, is ambiguous, and reading back finds the object", async () => {
    await using proxy = await startTcpProxy(server.port, { toClient: () => "cut" });
    await using store = storeAt({ prefix: "lost", port: proxy.port });
    await using direct = storeAt({ prefix: "lost" });
    expect(await store.create("a", large)).toMatchObject({ kind: "ambiguous" });
    await vi.waitFor(async () => {
      expect(await direct.get("a")).toMatchObject({ kind: "found", objectBytes: large.length });
    });
    expect(await direct.create("a", small)).toEqual({ kind: "exists" });
  });

  test("by a refusal that does not wait for the body, is never success", async () => {
    // versitygw answers 412 at once and closes: the answer arrives, or the reset overtakes it.
    await using store = storeAt({ prefix: "early" });
    await store.create("a", small);
    for (let round = 0; round < 10; round += 1) {
      const { kind } = await store.create("a", large);
      expect(["exists", "ambiguous"]).toContain(kind);
    }
    expect(await store.get("a")).toMatchObject({ bytes: small });
  });

  test("while an object is read, is a fault", async () => {
    await using direct = storeAt({ prefix: "read" });
    await direct.create("a", large);
    await using proxy = await startTcpProxy(server.port, {
      toClient: (bytes) => (bytes > 2 ** 20 ? "cut" : "pass"),
    });
    await using store = storeAt({ prefix: "read", port: proxy.port });
    await expect(store.get("a")).rejects.toMatchObject({ code: "store-unavailable" });
  });

  test("half-open, ends every call with its deadline", async () => {
    let dropped = 0;
    await using proxy = await startTcpProxy(server.port, {
      toServer: () => {
        dropped += 1;
        return "drop";
      },
    });
    const clock = new FakeClock();
    await using store = storeAt({ prefix: "silent", port: proxy.port, clock });
    const calls = [
      store.create("a", new Uint8Array(1)),
      store.get("a"),
      store.list(""),
      store.delete("a"),
    ].map((call) => call.catch((error: unknown) => error));
    await vi.waitFor(() => expect(dropped).toBeGreaterThanOrEqual(4));
    await clock.advance(16_000);
    const late = { code: "store-unavailable", message: expect.stringContaining("in time") };
    const [created, ...others] = await Promise.all(calls);
    expect(created).toMatchObject({ kind: "ambiguous", cause: late });
    expect(others).toMatchObject([late, late, late]);
    expect(clock.timerCount).toBe(0);
  });
});

test("a server killed while a PUT arrives leaves no object, and serves on later", async () => {
  await using gateway = await startVersitygw();
  const killed = Promise.withResolvers<void>();
  let isKilled = false;
  await using proxy = await startTcpProxy(gateway.port, {
    toServer: (bytes) => {
      if (bytes > 4 * 2 ** 20 && !isKilled) {
        isKilled = true;
        gateway.kill().then(killed.resolve, killed.reject);
      }
      return "pass";
    },
  });
  await using store = storeAt({ prefix: "p", gateway, port: proxy.port });
  expect(await store.create("before", large)).toMatchObject({ kind: "ambiguous" });
  await killed.promise;
  await using direct = storeAt({ prefix: "p", gateway });
  await expect(direct.create("while-down", small)).rejects.toMatchObject({
    code: "store-unavailable",
    message: expect.stringContaining("nothing answers"),
  });
  await gateway.restart();
  expect(await direct.get("before")).toEqual({ kind: "absent" });
  expect(await direct.create("before", large)).toEqual({ kind: "created" });
});
