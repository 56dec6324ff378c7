// Reads the numbers out of what test programs report. Whatever is not plainly passed is a failure:
// no report, no test, a skipped or disabled test, a crash after the last test.
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import type { Counts } from "./suite.ts";

const Gtest = z.object({
  failures: z.number(),
  testsuites: z.array(z.object({ testsuite: z.array(z.object({ result: z.string() })) })),
});
const Vitest = z.object({
  numTotalTests: z.number(),
  numPassedTests: z.number(),
  success: z.boolean(),
});

/** GoogleTest's --gtest_output=json:FILE. */
export function countGtest(file: string, exitCode: number): Counts {
  const report = read(file, Gtest);
  if (report === undefined) {
    return { passed: 0, failed: 1 };
  }
  const results = report.testsuites.flatMap(({ testsuite }) => testsuite);
  // Failed ones are COMPLETED as well; skipped, suppressed and disabled ones are not.
  const notRun = results.filter(({ result }) => result !== "COMPLETED").length;
  const failed = report.failures + notRun;
  return settle({ passed: results.length - failed, failed }, exitCode === 0);
}

/** vitest's JSON reporter. A file that cannot be loaded has no tests, but spoils `success`. */
export function countVitest(file: string, exitCode: number): Counts {
  const report = read(file, Vitest);
  if (report === undefined) {
    return { passed: 0, failed: 1 };
  }
  const failed = report.numTotalTests - report.numPassedTests;
  return settle({ passed: report.numPassedTests, failed }, report.success && exitCode === 0);
}

/** Lines `ok NAME` and `not ok NAME: why` of a script. */
export function countLines(output: string, good: boolean): Counts {
  const passed = output.match(/^ok /gmu)?.length ?? 0;
  const failed = output.match(/^not ok /gmu)?.length ?? 0;
  return settle({ passed, failed }, good);
}

/** A run that went wrong, or that ran nothing, has at least one failure. */
function settle(counts: Counts, good: boolean): Counts {
  const spoiled = !good || counts.passed + counts.failed === 0;
  return spoiled && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

function read<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> | undefined {
  return existsSync(file) ? schema.parse(JSON.parse(readFileSync(file, "utf8"))) : undefined;
}
