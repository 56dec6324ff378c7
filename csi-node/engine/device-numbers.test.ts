// Goal: no two devices that are being made have one number, and none has a number that is in use.
// Method: the list of a machine's devices is given.
import { expect, test } from "vitest";

import { DeviceNumbers } from "./device-numbers.ts";

test("the lowest free number, which nobody else gets until it is disposed of", async () => {
  const numbers = new DeviceNumbers({ ublkDevices: async () => [0, 2] });
  const [first, second] = await Promise.all([numbers.choose(null), numbers.choose(null)]);
  expect([first.id, second.id].toSorted((a, b) => a - b)).toStrictEqual([1, 3]);
  first[Symbol.dispose]();
  second[Symbol.dispose]();
  using again = await numbers.choose(null);
  expect(again.id).toBe(1);
});

test("a device that appears while the list is made", async () => {
  const list = Promise.withResolvers<readonly number[]>();
  const lists = [Promise.resolve([]), list.promise];
  const numbers = new DeviceNumbers({ ublkDevices: () => lists.shift() ?? list.promise });
  const first = await numbers.choose(null);
  const late = numbers.choose(null);
  first[Symbol.dispose]();
  list.resolve([]);
  using second = await late;
  expect([first.id, second.id]).toStrictEqual([0, 1]);
});

test("a survivor keeps its number", async () => {
  const numbers = new DeviceNumbers({ ublkDevices: async () => [0] });
  using kept = await numbers.choose(0);
  expect(kept.id).toBe(0);
});
