// Servers that run beside a test or a bench: their output goes to a file, and none outlives this
// process.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";

const END_TIMEOUT_MS = 10_000;

export interface Background {
  readonly command: readonly string[];
  /** Standard output and error, appended. */
  readonly logFile: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export function startBackground({ command, logFile, env }: Background): ChildProcess {
  const [file, ...args] = command;
  if (file === undefined) throw new Error("startBackground needs a command");
  const log = openSync(logFile, "a");
  const child = spawn(file, args, { stdio: ["ignore", log, log], env: { ...process.env, ...env } });
  closeSync(log);
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const forget = (): void => void process.off("exit", kill);
  child.once("exit", forget).once("error", forget);
  return child;
}

/** Resolves when it has ended; one that does not within ten seconds is killed. */
export async function endBackground(
  child: ChildProcess,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill(signal);
  const patience = setTimeout(() => child.kill("SIGKILL"), END_TIMEOUT_MS);
  await exit;
  clearTimeout(patience);
}
