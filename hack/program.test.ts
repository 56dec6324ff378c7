// Goal: no program started by the house outlives it or its time. Method: start shells that leave a
// sleeping grandchild behind, end them by success and by time limit, and look for the grandchild.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { outputOf, runProgram } from "./program.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-program-"));
const leaveSleeper = "sleep 1000 & echo $!";

afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function expectSleeperGone(file: string): Promise<void> {
  const pid = readFileSync(file, "utf8").trim();
  expect(pid).toMatch(/^\d+$/u);
  await vi.waitUntil(() => !existsSync(`/proc/${pid}`), 5_000);
}

test("what a program leaves running ends with it", async () => {
  const file = join(folder, "leaves");
  const command = ["bash", "-c", leaveSleeper];
  const end = await runProgram({ command, timeoutMs: 10_000, output: { file } });
  expect(end).toEqual({ exitCode: 0, timedOut: false });
  await expectSleeperGone(file);
});

test("a program that takes too long is ended with all it started", async () => {
  const file = join(folder, "hangs");
  const command = ["bash", "-c", `${leaveSleeper}; wait`];
  const end = await runProgram({ command, timeoutMs: 3_000, output: { file } });
  expect(end).toEqual({ exitCode: 1, timedOut: true });
  await expectSleeperGone(file);
});

test("a failed program is an error that holds its output", async () => {
  const failing = outputOf(["bash", "-c", "echo out; echo err >&2; exit 3"]);
  await expect(failing).rejects.toThrow(/failed \(3\):\nout\nerr/u);
});

test("a program that does not exist is named", async () => {
  const starting = runProgram({ command: ["/no/such"], timeoutMs: 1_000, output: "inherit" });
  await expect(starting).rejects.toThrow("cannot start /no/such");
});
