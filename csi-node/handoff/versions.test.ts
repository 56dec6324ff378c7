// Goal: engines of neighbouring protocol versions hand over to each other, both ways. Method: the
// golden messages of version 1 as a peer that takes each in its turn and breaks off at anything its
// version does not know; newer peers that say more than we know. The window is agreed on at once.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { createLogger } from "../../core/runtime/log.ts";
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { FakeProcess } from "../../test/support/handoff/fake-process.ts";
import { FakeSockets } from "../../test/support/handoff/fake-sockets.ts";
import type { HandoffSocket } from "../engine/handoff-port.ts";
import { decodeMessage, type WarmOrder } from "./messages.ts";
import { Owners } from "./owners.ts";
import { HandoffPredecessor, type PredecessorHost } from "./predecessor.ts";
import type { HandoffReport } from "./report.ts";
import { takeOver, type SuccessorHost, type SuccessorResult } from "./successor.ts";

type Json = Readonly<Record<string, unknown>> & { readonly kind: string };

const messages = z.array(z.looseObject({ kind: z.string() }));
const golden = z
  .object({ successor: messages, predecessor: messages })
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, "golden/version-1.json"), "utf8")));

/** All that version 1 knows. */
const KINDS_OF_1 = ["hello", "hello-ack", "refuse", "warm", "warm-ready", "freeze", "serving"];

const log = createLogger({ level: "silent", name: "test" });
let clock: FakeClock;
let sockets: FakeSockets;
let ours: FakeProcess;
let theirs: FakeProcess;
let folder: string;

beforeEach(() => {
  clock = new FakeClock();
  sockets = new FakeSockets();
  ours = new FakeProcess({ pid: 1, clock });
  theirs = new FakeProcess({ pid: 2, clock });
  folder = mkdtempSync(join(tmpdir(), "weir-versions-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** A peer of another version: what it was told, and what it answers to each kind. */
class ScriptedPeer {
  readonly heard: Json[] = [];
  readonly #answers: Readonly<Record<string, readonly Json[]>>;
  readonly #known: readonly string[] | undefined;

  constructor(options: {
    readonly answers: Readonly<Record<string, readonly Json[]>>;
    /** Undefined: whatever we say. */
    readonly known?: readonly string[];
  }) {
    this.#answers = options.answers;
    this.#known = options.known;
  }

  talk(socket: HandoffSocket): void {
    socket.listen({
      onMessage: (bytes) => {
        const message = messages.element.parse(JSON.parse(Buffer.from(bytes).toString()));
        this.heard.push(message);
        if (this.#known?.includes(message.kind) === false && message.kind !== "done") {
          socket.close();
          return;
        }
        for (const answer of this.#answers[message.kind] ?? []) this.say(socket, answer);
      },
      onClose: () => undefined,
    });
  }

  say(socket: HandoffSocket, message: Json): void {
    void socket.send(Buffer.from(JSON.stringify(message))).catch(() => undefined);
  }

  get kinds(): readonly string[] {
    return this.heard.map(({ kind }) => kind);
  }
}

function goldenMessage(side: "successor" | "predecessor", kind: string): Json {
  const found = golden[side].find((message) => message.kind === kind);
  if (found === undefined) throw new Error(`no ${kind} in the golden file`);
  return found;
}

const goldenPages = golden.predecessor.filter(({ kind }) => kind === "warm");

function predecessorOf1(): ScriptedPeer {
  return new ScriptedPeer({
    known: KINDS_OF_1,
    answers: {
      hello: [goldenMessage("predecessor", "hello-ack"), ...goldenPages],
      "warm-ready": [goldenMessage("predecessor", "freeze")],
      serving: [goldenMessage("predecessor", "done")],
    },
  });
}

function successorOf1(): ScriptedPeer {
  return new ScriptedPeer({
    known: KINDS_OF_1,
    answers: {
      warm: [goldenMessage("successor", "warm-ready")],
      freeze: [goldenMessage("successor", "serving")],
    },
  });
}

/** Takes over from a scripted predecessor; the orders it was given. */
async function takeFrom(
  peer: ScriptedPeer,
): Promise<{ result: SuccessorResult; loaded: readonly WarmOrder[] }> {
  sockets.listen(theirs, { path: "p", onConnection: (socket) => peer.talk(socket) });
  const socket = sockets.connect(ours, "p");
  if (socket === null) throw new Error("nobody listens");
  let loaded: readonly WarmOrder[] = [];
  const host: SuccessorHost = {
    load: async (orders, { onProgress }) => {
      loaded = orders;
      for (const index of orders.keys()) onProgress({ loaded: index + 1, of: orders.length });
    },
    discard: async () => undefined,
    take: async () => ({ kind: "taken", volumes: [], devices: [] }),
    adopt: async () => undefined,
  };
  const { signal } = new AbortController();
  const options = { host, socket, dryRun: false, clock, log, signal };
  const onDie = (fault: Error): never => expect.fail(fault.message);
  const result = await clock.runUntil(takeOver({ ...options, onDie }));
  if (result.kind === "taken") await clock.runUntil(result.settled);
  return { result, loaded };
}

/** Of the last window: a volume after the other, to a successor that can. */
let gaveInBatches: boolean | undefined;

/** Gives to a scripted successor; how that ended. */
async function giveTo(peer: ScriptedPeer, hello: Json): Promise<HandoffReport> {
  const orders = goldenPages.flatMap((page) => {
    const decoded = decodeMessage(Buffer.from(JSON.stringify(page)));
    return decoded?.kind === "warm" ? decoded.volumes : [];
  });
  const host: PredecessorHost = {
    calm: async () => orders,
    pressure: (signal) => clock.sleep(1e9, signal).then(() => "late"),
    resume: () => undefined,
    give: async ({ inBatches }) => {
      gaveInBatches = inBatches;
      return { kind: "given", devices: [] };
    },
    release: async () => undefined,
    startOver: async () => undefined,
  };
  const identity = { pid: 1, startTicks: "1", build: "0.0.0" };
  const owners = new Owners({ directory: folder, identity });
  const ended = Promise.withResolvers<HandoffReport>();
  const predecessor = new HandoffPredecessor({
    ...{ host, owners, clock, log, generation: 7, onReport: ended.resolve },
    onDie: (fault) => expect.fail(fault.message),
  });
  sockets.listen(ours, { path: "p", onConnection: (socket) => predecessor.connect(socket) });
  const socket = sockets.connect(theirs, "p");
  if (socket === null) throw new Error("nobody listens");
  peer.talk(socket);
  peer.say(socket, hello);
  const report = await clock.runUntil(ended.promise);
  await clock.settle();
  return report;
}

test("we take over from an engine of version 1 and say nothing it does not know", async () => {
  const peer = predecessorOf1();
  const { result, loaded } = await takeFrom(peer);
  expect(result).toMatchObject({ kind: "taken", report: { generation: 8, peerBuild: "0.1.0" } });
  expect(loaded.map(({ name }) => name)).toEqual(["data", "logs"]);
  expect(peer.kinds).toEqual(["hello", "warm-ready", "serving"]);
});

test("an engine of version 1 takes over from us", async () => {
  const peer = successorOf1();
  const report = await giveTo(peer, goldenMessage("successor", "hello"));
  expect(report).toMatchObject({ outcome: "given", peerBuild: "0.1.0" });
  expect(peer.kinds).toEqual(["hello-ack", "warm", "freeze", "done"]);
  expect(peer.heard[0]).toMatchObject({ version: 1 });
  expect(gaveInBatches).toBe(false);
});

test("a newer engine takes over from us with what both know", async () => {
  const peer = new ScriptedPeer({
    answers: {
      "hello-ack": [{ kind: "batch-io-offer", queues: 2 }],
      warm: [
        { kind: "warming", loaded: 1, of: 2, bytes: 77 },
        { kind: "warm-ready", volumes: 2, bytes: 154 },
      ],
      freeze: [{ kind: "serving", generation: 8, since: "now" }],
    },
  });
  const hello = { ...goldenMessage("successor", "hello"), min: 2, max: 3, keeper: true };
  const report = await giveTo(peer, { ...hello, capabilities: ["window-1", "window-batches"] });
  expect(report).toMatchObject({ outcome: "given" });
  expect(gaveInBatches).toBe(true);
  expect(peer.heard[0]).toMatchObject({ kind: "hello-ack", version: 2 });
});

test("we take over from a newer engine with what both know", async () => {
  const ack = { ...goldenMessage("predecessor", "hello-ack"), version: 2, zone: "b" };
  const peer = new ScriptedPeer({
    answers: {
      hello: [ack, { kind: "hint" }, ...goldenPages],
      "warm-ready": [goldenMessage("predecessor", "freeze")],
      serving: [goldenMessage("predecessor", "done")],
    },
  });
  expect((await takeFrom(peer)).result).toMatchObject({ kind: "taken" });
  expect(peer.kinds).toEqual(["hello", "warming", "warming", "warm-ready", "serving"]);
});

test("without a common version the one that serves refuses and names both", async () => {
  const peer = new ScriptedPeer({ answers: {} });
  const hello = { ...goldenMessage("successor", "hello"), min: 3, max: 4 };
  expect(await giveTo(peer, hello)).toMatchObject({ outcome: "kept" });
  expect(peer.heard).toEqual([
    { kind: "refuse", reason: expect.stringContaining("versions 1 to 2"), min: 1, max: 2 },
  ]);
});

test("a refusal ends the successor with the reason", async () => {
  const refuse = { kind: "refuse", reason: "another handoff is under way", min: 1, max: 1 };
  const peer = new ScriptedPeer({ answers: { hello: [refuse] } });
  const { result } = await takeFrom(peer);
  expect(result).toMatchObject({ kind: "refused", reason: refuse.reason });
});

test("an engine that lacks the window's capability is refused", async () => {
  const peer = new ScriptedPeer({ answers: {} });
  const hello = { ...goldenMessage("successor", "hello"), capabilities: [] };
  expect(await giveTo(peer, hello)).toMatchObject({ outcome: "kept" });
  expect(peer.heard[0]).toMatchObject({
    kind: "refuse",
    reason: expect.stringContaining("window"),
  });
});

test("we do not take over from an engine that lacks the window's capability", async () => {
  const ack = { ...goldenMessage("predecessor", "hello-ack"), capabilities: [] };
  const peer = new ScriptedPeer({ answers: { hello: [ack, ...goldenPages] } });
  expect((await takeFrom(peer)).result).toMatchObject({ kind: "refused" });
  expect(peer.kinds).toEqual(["hello", "abort"]);
});
