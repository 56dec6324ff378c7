// Runs the system's programs (mount, mkfs, ...): bounded in time and output. A program that hangs
// in the kernel cannot be killed: then the wait ends, not the program.
import { spawn } from "node:child_process";

import { WeirError } from "../../core/runtime/errors.ts";
import type { Clock } from "../../core/runtime/ports.ts";

/** More than what these programs say when they fail. */
const OUTPUT_CHARACTERS_MAX = 16 * 1024;
/** What fits into an event. */
const SHOWN_CHARACTERS_MAX = 400;

export interface ProgramRun {
  readonly command: readonly [string, ...string[]];
  readonly timeoutMs: number;
  /** What it reads; nothing without. */
  readonly input?: string;
}

export interface ProgramEnd {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Throws `deadline-exceeded` when it takes too long, `internal` when it cannot be started. */
export async function runProgram(clock: Clock, run: ProgramRun): Promise<ProgramEnd> {
  const [file, ...args] = run.command;
  const child = spawn(file, args, {
    stdio: ["pipe", "pipe", "pipe"],
    // Its words are looked at, so they must be in one language.
    env: { LC_ALL: "C", PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] = (output[name] + text).slice(0, OUTPUT_CHARACTERS_MAX);
    });
  }
  // A program that does not read its input has its reasons, and its exit code tells them.
  child.stdin.on("error", () => undefined).end(run.input);
  using deadline = clock.deadline(run.timeoutMs);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once("error", (cause) => {
    reject(
      new WeirError("internal", "a program that this node needs cannot be started", {
        details: { program: file },
        cause,
      }),
    );
  });
  child.once("close", (code) => resolve(code ?? 1));
  deadline.addEventListener("abort", () => {
    child.kill("SIGKILL");
    reject(
      new WeirError("deadline-exceeded", "a program did not end in time: the device may hang", {
        details: { program: file, timeoutMs: run.timeoutMs },
      }),
    );
  });
  return { exitCode: await promise, ...output };
}

/** As runProgram; throws `internal` with the program's own words unless it ends with 0. */
export async function runToSuccess(clock: Clock, run: ProgramRun): Promise<string> {
  const end = await runProgram(clock, run);
  if (end.exitCode === 0) return end.stdout;
  throw programFault(run, end);
}

export function programFault(run: ProgramRun, end: ProgramEnd): WeirError {
  const words = (end.stderr.trim() || end.stdout.trim()).slice(-SHOWN_CHARACTERS_MAX);
  return new WeirError("internal", `${run.command[0]} failed: ${words}`, {
    details: { exitCode: end.exitCode },
  });
}
