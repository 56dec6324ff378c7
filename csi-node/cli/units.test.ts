// Goal: sizes and durations mean what people who know lvcreate and Kubernetes expect, and a slip
// is refused with a sentence that shows how to write it. Method: tables of texts and values, both
// directions.
import { describe, expect, test } from "vitest";

import { formatSize, parseDurationMs, parseSize } from "./units.ts";
import { UsageError } from "./usage-error.ts";

const GIB = 1024 ** 3;

describe("sizes", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["512B", 512],
    ["4K", 4096],
    ["4k", 4096],
    ["4KiB", 4096],
    ["512MiB", 512 * 1024 ** 2],
    ["512Mi", 512 * 1024 ** 2],
    ["10G", 10 * GIB],
    ["10Gi", 10 * GIB],
    ["10GiB", 10 * GIB],
    ["10gib", 10 * GIB],
    ["1.5G", 1.5 * GIB],
    ["10GB", 10_000_000_000],
    ["2T", 2048 * GIB],
  ])("%s is %d bytes", (text, bytes) => {
    expect(parseSize(text, "--size")).toBe(bytes);
  });

  test.each([
    "",
    " ",
    "G",
    "-1",
    "+1",
    "1e3",
    "0x10",
    "10 G",
    "10X",
    "10GG",
    "iB",
    "1iB",
    "1i",
    "10Gb ps",
    "0.3",
    "1.0000001K",
    "9007199254740993",
    "99999999T",
    "Infinity",
    "NaN",
    "１０G",
  ])("%j is refused", (text) => {
    expect(() => parseSize(text, "--size")).toThrow(UsageError);
    expect(() => parseSize(text, "--size")).toThrow(`--size must be a whole number of bytes`);
  });

  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [1024 ** 2 - 1, "1 MiB"],
    [10 * GIB, "10 GiB"],
    [5000 * 1024 * GIB, "5000 TiB"],
  ])("%d bytes show as %s", (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});

describe("durations", () => {
  test.each([
    ["100ms", 100],
    ["5s", 5_000],
    ["1.5s", 1_500],
    ["2m", 120_000],
    ["1h", 3_600_000],
  ])("%s is %d ms", (text, ms) => {
    expect(parseDurationMs(text, "--max-dirty-age")).toBe(ms);
  });

  test.each(["", "5", "s", "-5s", "5 s", "5S", "5sec", "1h30m", "0.3ms", "1e3s"])(
    "%j is refused",
    (text) => {
      expect(() => parseDurationMs(text, "--age")).toThrow(UsageError);
    },
  );
});
