// Goal: of all that try to create a generation exactly one succeeds, with the file whole, and a
// dead owner is told from a living one. Method: many at once on a real folder; pids of this test
// and of a process that has ended.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { ownIdentity, Owners } from "./owners.ts";

let directory: string;

beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), "weir-owners-")), "owners");
});

afterEach(() => rmSync(join(directory, ".."), { recursive: true }));

const ownersOf = (pid: number, startTicks = "1") =>
  new Owners({ directory, identity: { pid, startTicks, build: "0.0.0" } });

test("of many that create a generation one wins, and its file is whole", async () => {
  const rivals = Array.from({ length: 20 }, (_, index) => ownersOf(index + 1));
  const won = await Promise.all(rivals.map((rival) => rival.claim(1)));
  expect(won.filter(Boolean).length).toBe(1);
  const winner = won.indexOf(true) + 1;
  expect(await ownersOf(99).owner(1)).toEqual({ pid: winner, startTicks: "1", build: "0.0.0" });
  expect(readdirSync(directory)).toEqual(["1"]);
});

test("a cold start takes the next number and keeps the one before as proof", async () => {
  const owners = ownersOf(1);
  expect(await owners.newest()).toBe(0);
  for (const generation of [1, 2, 3]) expect(await owners.claimCold()).toBe(generation);
  expect(readdirSync(directory).toSorted()).toEqual(["2", "3"]);
  expect(await owners.claim(2)).toBe(false);
});

test("cold starts at the same time get numbers of their own", async () => {
  const rivals = Array.from({ length: 10 }, (_, index) => ownersOf(index + 1));
  const numbers = await Promise.all(rivals.map((rival) => rival.claimCold()));
  expect(new Set(numbers).size).toBe(10);
});

test("a living owner is seen, a dead one and one whose number was used again are not", async () => {
  const ended = spawnSync("true").pid;
  const self = await ownIdentity({ pid: process.pid, build: "0.0.0" });
  const other = ownersOf(ended);
  await new Owners({ directory, identity: self }).claim(1);
  expect(await other.living()).toEqual(self);
  await ownersOf(process.pid, "123").claim(2);
  expect(await other.living()).toBeUndefined();
  await other.claim(3);
  expect(await new Owners({ directory, identity: self }).living()).toBeUndefined();
});

test("an owner file that cannot be read counts as nobody's, and its number is taken", async () => {
  const owners = ownersOf(1);
  await owners.claim(1);
  writeFileSync(join(directory, "2"), "{");
  expect(await owners.living()).toBeUndefined();
  expect(await owners.claimCold()).toBe(3);
});
