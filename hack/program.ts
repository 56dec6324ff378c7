// Runs other programs: bounded in time, with everything they started ended when they end, and their
// output in order in one file. Nothing a test starts outlives it.
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Program {
  readonly command: readonly string[];
  readonly timeoutMs: number;
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where standard output and error go together; "inherit" shows them as they come. */
  readonly output: "inherit" | { readonly file: string };
}

export interface ProgramEnd {
  /** The exit status; 128 + the signal's number is not imitated: a signal gives 1. */
  readonly exitCode: number;
  readonly timedOut: boolean;
}

const running = new Set<ChildProcess>();

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const child of running) {
      killGroup(child);
    }
    process.exit(130);
  });
}

/** Runs a program to its end; throws only when it cannot be started. */
export async function runProgram(program: Program): Promise<ProgramEnd> {
  const [file, ...args] = program.command;
  if (file === undefined) {
    throw new Error("runProgram needs a command");
  }
  const target = program.output === "inherit" ? undefined : openSync(program.output.file, "a");
  try {
    const child = spawn(file, args, {
      cwd: program.cwd,
      env: { ...process.env, ...program.env },
      // A group of its own, so that killGroup reaches grandchildren as well.
      detached: true,
      stdio: ["ignore", target ?? "inherit", target ?? "inherit"],
    });
    return await ended(child, program.timeoutMs);
  } finally {
    if (target !== undefined) {
      closeSync(target);
    }
  }
}

/** Runs a short program and returns what it printed; throws with that when it fails. */
export async function outputOf(
  command: readonly string[],
  options: { timeoutMs?: number; env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Promise<string> {
  const { timeoutMs = 60_000, ...rest } = options;
  const folder = mkdtempSync(join(tmpdir(), "weir-"));
  try {
    const file = join(folder, "output");
    const end = await runProgram({ command, timeoutMs, output: { file }, ...rest });
    const text = readFileSync(file, "utf8");
    if (end.exitCode !== 0) {
      const how = end.timedOut ? `took over ${timeoutMs} ms` : `failed (${end.exitCode})`;
      throw new Error(`${command.join(" ")} ${how}:\n${text}`);
    }
    return text;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function ended(child: ChildProcess, timeoutMs: number): Promise<ProgramEnd> {
  return new Promise((resolve, reject) => {
    let timedOut = false;
    running.add(child);
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child);
    }, timeoutMs);
    child.once("error", (cause) => {
      clearTimeout(timer);
      running.delete(child);
      reject(new Error(`cannot start ${child.spawnfile}`, { cause }));
    });
    child.once("exit", (code) => {
      clearTimeout(timer);
      running.delete(child);
      killGroup(child);
      resolve({ exitCode: timedOut ? 1 : (code ?? 1), timedOut });
    });
  });
}

/** Ends what is left of the child's process group. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) {
    return;
  }
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // The group is gone already.
  }
}
