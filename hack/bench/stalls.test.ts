// Goal: the bench's figures are about the requests that a handoff kept waiting. Method: small
// hand-made records of requests and windows, with requests beside the windows that must not count.
import { expect, test } from "vitest";
import { forgottenIn, readRequests, readWindows, stallsOf, worstIn } from "./stalls.ts";

const MS = 1_000_000;
const line = (...numbers: number[]) => `${numbers.join(" ")}\n`;

const windows = readWindows(
  `base 0 ${100 * MS}\n` +
    // The later handoff first, as that of engine 10 before that of engine 9.
    line(0, 300 * MS, 303 * MS) +
    line(1, 301 * MS, 303 * MS) +
    line(0, 200 * MS, 204 * MS) +
    line(1, 201 * MS, 206 * MS),
);

test("windows belong to their handoff and device", () => {
  expect(windows.base).toEqual({ beginNs: 0, endNs: 100 * MS });
  expect(windows.handoffs.map((of) => of.length)).toEqual([2, 2]);
  expect(windows.handoffs[1]?.[1]).toEqual({ beginNs: 301 * MS, endNs: 303 * MS });
});

test("a stall is the longest request around the window of its own device", () => {
  const requests = readRequests(
    // Before every window, and longer than anything in one.
    line(0, 150 * MS, 190 * MS) +
      line(0, 199 * MS, 205 * MS) +
      line(1, 205 * MS, 212 * MS) +
      // In the window of the other device only.
      line(1, 150 * MS, 200.5 * MS) +
      line(0, 302 * MS, 304 * MS) +
      // Sent while what waited was being answered.
      line(1, 304 * MS, 307 * MS) +
      line(1, 306 * MS, 399 * MS),
  );
  expect(stallsOf(requests, windows.handoffs)).toEqual([7, 3]);
});

test("a request is forgotten when only the next handoff brings it along", () => {
  const requests = readRequests(
    // Long, but ended between the two; sent between them; and of the other device: forgotten.
    line(0, 203 * MS, 299 * MS) + line(0, 205 * MS, 310 * MS) + line(1, 205 * MS, 302 * MS),
  );
  expect(forgottenIn(requests, windows.handoffs)).toBe(1);
});

test("the worst of the base is that of all devices", () => {
  const requests = readRequests(
    line(0, MS, 2 * MS) + line(1, 99 * MS, 103 * MS) + line(0, 101 * MS, 150 * MS),
  );
  expect(worstIn(requests, windows.base)).toBe(4);
});

test("what is no record is refused", () => {
  expect(() => readWindows("0 1 2\n")).toThrow("not the base");
  expect(() => readRequests("0 1\n")).toThrow("three numbers");
});
