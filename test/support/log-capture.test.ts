// Goal: an unexpected warning of code under test fails its test, an expected one does not. Method:
// write pino lines as a process would, in pieces too, and look at the complaints.
import { pino } from "pino";
import { expect, test } from "vitest";
import { captureLogs, expectLog, loggedLines, takeLogComplaints } from "./log-capture.ts";

test("a warning that nobody listed is a complaint", () => {
  pino({}, captureLogs()).warn("disk is slow");
  expect(takeLogComplaints()).toEqual([expect.stringContaining("disk is slow")]);
});

test("a listed warning and plain information are fine", () => {
  const logger = pino({}, captureLogs());
  logger.info("started");
  logger.error("disk is slow");
  expectLog(/disk is slow/u);
  expect(loggedLines()).toHaveLength(2);
  expect(takeLogComplaints()).toEqual([]);
});

test("a listed warning that never came is a complaint", () => {
  expectLog(/disk is slow/u);
  expect(takeLogComplaints()).toEqual([expect.stringContaining("never logged")]);
});

test("a line may come in pieces, between others that are not of pino", () => {
  const output = captureLogs();
  output.write('hello\n{"level":50,');
  output.write('"msg":"boom"}\n{broken\n');
  expect(takeLogComplaints()).toEqual([expect.stringContaining("boom")]);
});
