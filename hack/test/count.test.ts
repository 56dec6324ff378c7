// Goal: no broken test run is ever counted as a good one. Method: feed the reports that a crash, a
// skipped test, an empty run or an unloadable file leaves, and expect at least one failure each.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { countGtest, countLines, countVitest } from "./count.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-count-"));
let files = 0;

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function report(content: unknown): string {
  files += 1;
  const file = join(folder, String(files));
  writeFileSync(file, JSON.stringify(content));
  return file;
}

const gtest = (failures: number, ...results: readonly string[]) =>
  report({ failures, testsuites: [{ testsuite: results.map((result) => ({ result })) }] });
const C = "COMPLETED";
const vitest = (numTotalTests: number, numPassedTests: number, success: boolean) =>
  report({ numTotalTests, numPassedTests, success });

test.each([
  ["all good", countGtest(gtest(0, C, C, C), 0), { passed: 3, failed: 0 }],
  ["two failed", countGtest(gtest(2, C, C, C), 1), { passed: 1, failed: 2 }],
  ["one disabled", countGtest(gtest(0, C, "SUPPRESSED"), 0), { passed: 1, failed: 1 }],
  ["one skipped", countGtest(gtest(0, C, "SKIPPED"), 0), { passed: 1, failed: 1 }],
  ["sanitizer report at exit", countGtest(gtest(0, C), 66), { passed: 1, failed: 1 }],
  ["crash before the report", countGtest(join(folder, "none"), 139), { passed: 0, failed: 1 }],
  ["nothing ran", countGtest(gtest(0), 0), { passed: 0, failed: 1 }],
])("GoogleTest: %s", (_, counts, expected) => {
  expect(counts).toEqual(expected);
});

test.each([
  ["all good", countVitest(vitest(5, 5, true), 0), { passed: 5, failed: 0 }],
  ["one skipped", countVitest(vitest(5, 4, true), 0), { passed: 4, failed: 1 }],
  ["a file did not load", countVitest(vitest(5, 5, false), 1), { passed: 5, failed: 1 }],
  ["stray error afterwards", countVitest(vitest(5, 5, true), 1), { passed: 5, failed: 1 }],
  ["no report", countVitest(join(folder, "none"), 1), { passed: 0, failed: 1 }],
])("vitest: %s", (_, counts, expected) => {
  expect(counts).toEqual(expected);
});

test.each([
  ["all good", countLines("ok a\nnoise\nok b\n", true), { passed: 2, failed: 0 }],
  ["one failed", countLines("ok a\nnot ok b: why\n", true), { passed: 1, failed: 1 }],
  ["died half-way", countLines("ok a\n", false), { passed: 1, failed: 1 }],
  ["nothing said", countLines("", true), { passed: 0, failed: 1 }],
])("script: %s", (_, counts, expected) => {
  expect(counts).toEqual(expected);
});
