// Goal: a secret never reaches a log line, whatever object it hides in, and a fault says what it is
// at its own level. Method: canary strings, logged in every way that code could by mistake.

import { inspect } from "node:util";
import { expect, test } from "vitest";
import { WeirError } from "./errors.ts";
import { createLogger, logFault } from "./log.ts";
import { Secret } from "./secret.ts";

const CANARY = "canary-7d1f0a";

function capture(): { lines: string[]; log: ReturnType<typeof createLogger> } {
  const lines: string[] = [];
  const destination = { write: (line: string): number => lines.push(line) };
  return { lines, log: createLogger({ level: "debug", name: "test", destination }) };
}

test("a Secret shows a mask wherever it is printed", () => {
  const secret = new Secret(CANARY);
  const seen = [String(secret), JSON.stringify({ secret }), inspect({ a: [secret] })];
  expect(seen.join()).not.toContain(CANARY);
  expect(secret.reveal()).toBe(CANARY);
  expect(Object.entries(secret)).toEqual([]);
});

test("no canary comes through the logger", () => {
  const { lines, log } = capture();
  const names = ["secretAccessKey", "sessionToken", "secret", "password", "token", "authorization"];
  for (const name of [...names, "x-amz-security-token", "Authorization"]) {
    const value = { [name]: CANARY };
    log.info(value, "flat");
    log.info({ config: value }, "one deep");
    log.info({ config: { s3: value } }, "two deep");
    log.info({ a: { b: { c: value } } }, "three deep");
  }
  log.info({ config: { any: { name: new Secret(CANARY) } } }, "wrapped");
  const sdkError = Object.assign(new Error("403"), {
    $response: { headers: { anything: CANARY }, body: CANARY },
  });
  const fault = new WeirError("store-denied", "the bucket refuses", { cause: sdkError });
  logFault(log, fault, "an upload failed");
  expect(lines.length).toBe(8 * 4 + 2);
  expect(lines.join("")).not.toContain(CANARY);
  expect(lines.join("")).toContain("[secret]");
});

test("a fault is logged at its level, with code, details and cause", () => {
  const { lines, log } = capture();
  const cause = new Error("socket hang up");
  const details = { key: "a/b" };
  logFault(log, new WeirError("store-unavailable", "down", { details, cause }), "put failed");
  logFault(log, new WeirError("not-found", "no such volume"), "asked in vain");
  logFault(log, new TypeError("x is undefined"), "a bug");
  const [first, second, third] = lines.map((line): unknown => JSON.parse(line));
  expect(first).toMatchObject({
    level: 40,
    name: "test",
    msg: "put failed",
    err: {
      code: "store-unavailable",
      message: "down",
      details,
      cause: { message: "socket hang up" },
    },
  });
  expect(second).toMatchObject({ level: 30, err: { code: "not-found" } });
  expect(third).toMatchObject({ level: 50, err: { name: "TypeError" } });
});
