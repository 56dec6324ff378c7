// Goal: messages mean the same in every release. Method: golden files of each version, read back
// field by field; what a newer release may add; what breaks the protocol; the negotiation's table.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";

import { asEpoch, asNonce, asSeq, asVolumeUid } from "../../core/runtime/ids.ts";
import { volumePolicySchema } from "../engine/config.ts";
import { HANDOFF_MESSAGE_BYTES_MAX } from "../engine/handoff-port.ts";
import {
  decodeMessage,
  encodeMessage,
  missingCapability,
  negotiate,
  warmPages,
  type WarmOrder,
} from "./messages.ts";

const messages = z.array(z.looseObject({ kind: z.string() }));
const Golden = z.object({ successor: messages, predecessor: messages, either: messages });

function golden(version: number) {
  const path = join(import.meta.dirname, "golden", `version-${version}.json`);
  const found = Golden.parse(JSON.parse(readFileSync(path, "utf8")));
  return [...found.successor, ...found.predecessor, ...found.either];
}

const bytesOf = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

describe.each([1, 2])("version %i", (version) => {
  test.each(golden(version))("$kind is read and written as it was", (message) => {
    const read = decodeMessage(bytesOf(message));
    // A policy's absent fields have their defaults; nothing else changes.
    expect(read).toMatchObject(message);
    expect(JSON.parse(Buffer.from(encodeMessage(expectSome(read))).toString())).toMatchObject(
      message,
    );
  });
});

test("every kind of message is in a golden file", () => {
  const kinds = [...golden(1), ...golden(2)].map(({ kind }) => kind);
  expect([...new Set(kinds)].toSorted()).toEqual([
    ...["abort", "done", "freeze", "hello", "hello-ack", "refuse", "serving"],
    ...["warm", "warm-ready", "warming"],
  ]);
});

test.each(golden(1))("a newer $kind may say more", (message) => {
  const read = decodeMessage(bytesOf(message));
  expect(decodeMessage(bytesOf({ ...message, mood: "calm", since: { year: 2031 } }))).toEqual(read);
});

test("a kind that is not known is nobody's fault; a broken one is", () => {
  expect(decodeMessage(bytesOf({ kind: "batch-io", fd: 3 }))).toBeNull();
  for (const broken of [{ kind: "freeze" }, { kind: 7 }, {}, [], "hello", null]) {
    expect(() => decodeMessage(bytesOf(broken))).toThrow("was not understood");
  }
  expect(() => decodeMessage(Buffer.from("Wbinary"))).toThrow("was not understood");
});

test.each([
  [{ min: 1, max: 1 }, 1],
  [{ min: 1, max: 2 }, 2],
  [{ min: 2, max: 9 }, 2],
  [{ min: 3, max: 9 }, null],
])("with %o the version is %o", (theirs, version) => {
  expect(negotiate(theirs)).toBe(version);
});

test("a capability that is lacking is named", () => {
  expect(missingCapability(["window-1", "batch-io"])).toBeUndefined();
  expect(missingCapability(["window-2"])).toBe("window-1");
});

test("a thousand volumes come in pages that fit a message, none twice", () => {
  const orders = Array.from({ length: 1_000 }, (_, index) => order(index));
  const pages = warmPages(orders);
  const sizes = pages.map((page) => encodeMessage(page).length);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(HANDOFF_MESSAGE_BYTES_MAX);
  const volumes = pages.flatMap((page) => (page.kind === "warm" ? page.volumes : []));
  expect(volumes).toEqual(orders);
  expect(pages.map((page) => page.kind === "warm" && page.last)).toEqual([
    ...Array.from({ length: pages.length - 1 }, () => false),
    true,
  ]);
  expect(warmPages([])).toEqual([{ kind: "warm", volumes: [], last: true }]);
});

function order(index: number): WarmOrder {
  return {
    uid: asVolumeUid(index.toString(16).padStart(32, "0")),
    name: `volume-${index}`.padEnd(253, "x"),
    policy: volumePolicySchema.parse({}),
    transport: { kind: "ublk", deviceId: index, depth: 128 },
    epoch: asEpoch(1),
    committed: { epoch: asEpoch(1), seq: asSeq(index) },
    journalId: asNonce("0".repeat(32)),
  };
}

function expectSome<T>(value: T | null): T {
  if (value === null) throw new Error("the message's kind is known");
  return value;
}
