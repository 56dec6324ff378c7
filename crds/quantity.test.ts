// Goal: sizes and durations survive the way to text and back exactly, and everything else is
// refused with a sentence that shows what is allowed. Method: examples, and properties over the
// whole range of volumes.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VOLUME_BYTES_MAX } from "../core/log/limits.ts";
import {
  durationMs,
  formatDuration,
  formatQuantity,
  parseDuration,
  parseQuantity,
  quantityBytes,
  VOLUME_BYTES_MAX_QUANTITY,
} from "./quantity.ts";

const bytesOf = (text: string): number => quantityBytes(parseQuantity(text, "size"));
const msOf = (text: string): number => durationMs(parseDuration(text, "maxDirtyAge"));

describe("quantities", () => {
  it.each([
    ["0", 0],
    ["4096", 4096],
    ["4Ki", 4096],
    ["512Mi", 512 * 1024 ** 2],
    ["10Gi", 10 * 1024 ** 3],
    ["64Ti", VOLUME_BYTES_MAX],
    ["10k", 10_000],
    ["10M", 10_000_000],
    ["10G", 10_000_000_000],
    ["2T", 2_000_000_000_000],
  ])("%s is %d bytes", (text, bytes) => {
    expect(bytesOf(text)).toBe(bytes);
  });

  it.each(["", "-1Gi", "1.5Gi", "10gi", "10GiB", " 1Gi", "010Gi", "1e3", "Gi", "10Pi", "1Gi\n"])(
    "refuses %j, and says what is allowed",
    (text) => {
      expect(() => parseQuantity(text, "spec.size")).toThrowError(
        `spec.size must be a whole number of bytes such as 512Mi, 10Gi or 1Ti, not "${text}"`,
      );
    },
  );

  it("refuses a number that no volume can have", () => {
    expect(() => bytesOf("9999999999999999Ti")).toThrowError("is too large");
  });

  it("takes the largest unit that is exact", () => {
    expect(formatQuantity(0)).toBe("0");
    expect(formatQuantity(1000)).toBe("1000");
    expect(formatQuantity(1536 * 1024)).toBe("1536Ki");
    expect(formatQuantity(1024 ** 4)).toBe("1Ti");
  });

  it("comes back from text unchanged", () => {
    const bytes = fc.oneof(
      fc.integer({ min: 0, max: VOLUME_BYTES_MAX }),
      fc.integer({ min: 0, max: 2 ** 34 }).map((blocks) => blocks * 4096),
    );
    fc.assert(fc.property(bytes, (value) => bytesOf(formatQuantity(value)) === value));
  });

  it("knows the bound that the format sets", () => {
    expect(bytesOf(VOLUME_BYTES_MAX_QUANTITY)).toBe(VOLUME_BYTES_MAX);
  });
});

describe("durations", () => {
  it.each([
    ["0s", 0],
    ["10ms", 10],
    ["5s", 5_000],
    ["2m", 120_000],
    ["24h", 86_400_000],
  ])("%s is %d ms", (text, ms) => {
    expect(msOf(text)).toBe(ms);
  });

  it.each(["", "5", "s", "-5s", "1.5s", "1h30m", "5 s", "5sec", "05s"])(
    "refuses %j, and says what is allowed",
    (text) => {
      expect(() => parseDuration(text, "maxDirtyAge")).toThrowError(
        "maxDirtyAge must be a whole number with its unit such as 500ms, 5s, 2m or 1h, " +
          `not "${text}"`,
      );
    },
  );

  it("takes the largest unit that is exact", () => {
    expect(formatDuration(0)).toBe("0ms");
    expect(formatDuration(1_500)).toBe("1500ms");
    expect(formatDuration(60_000)).toBe("1m");
    expect(formatDuration(86_400_000)).toBe("24h");
  });

  it("comes back from text unchanged", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 86_400_000 }),
        (value) => msOf(formatDuration(value)) === value,
      ),
    );
  });
});
