// Goal: a seed replays a run, and its numbers are spread evenly. Method: compare sequences; count
// in ten buckets with bounds that a fair generator misses less than once in a million seeds.

import { expect, test } from "vitest";
import { SeededRandom } from "./seeded-random.ts";

const take = (random: SeededRandom, count: number): number[] =>
  Array.from({ length: count }, () => random.fraction());

test("the same seed gives the same sequence, another seed another", () => {
  expect(take(new SeededRandom(7), 50)).toEqual(take(new SeededRandom(7), 50));
  expect(take(new SeededRandom(7), 50)).not.toEqual(take(new SeededRandom(8), 50));
});

test("numbers fall evenly", () => {
  const buckets = Array.from({ length: 10 }, () => 0);
  const random = new SeededRandom(1);
  for (let count = 0; count < 10_000; count += 1) {
    const bucket = random.integer(10);
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
  }
  expect(Math.min(...buckets)).toBeGreaterThan(850);
  expect(Math.max(...buckets)).toBeLessThan(1150);
});

test("a child goes its own way and moves its parent by one number only", () => {
  const parent = new SeededRandom(3);
  const twin = new SeededRandom(3);
  const child = parent.fork();
  twin.fraction();
  take(child, 20);
  expect(take(parent, 10)).toEqual(take(twin, 10));
  expect(take(child, 10)).not.toEqual(take(twin, 10));
});

test("hex32 has the form of an identifier", () => {
  const random = new SeededRandom(0);
  const values = Array.from({ length: 200 }, () => random.hex32());
  expect(values.every((value) => /^[0-9a-f]{32}$/u.test(value))).toBe(true);
  expect(new Set(values).size).toBe(200);
});
