// Programs that stay when the command that started them has ended. Each is recorded in a file with
// its process id and the time it started, so that a number used again is never taken for it.
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { logFolder, stateFolder } from "./layout.ts";

export interface Daemon {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const recordFolder = join(stateFolder, "processes");
const recordFormat = z.object({ pid: z.int().positive(), start: z.string() });

/** Starts it, unless it runs; true when it was started. */
export function startDaemon({ name, command, env }: Daemon): boolean {
  if (daemonPid(name) !== undefined) return false;
  const [file, ...args] = command;
  if (file === undefined) throw new Error(`The daemon ${name} has no command.`);
  mkdirSync(logFolder, { recursive: true });
  const log = openSync(daemonLog(name), "a");
  const child = spawn(file, args, {
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...process.env, ...env },
  });
  closeSync(log);
  // A failed start shows as "exited at once" in whoever waits for it.
  child.on("error", (cause) => console.error(`cannot start ${name}: ${cause.message}`));
  child.unref();
  const start = child.pid === undefined ? undefined : startTime(child.pid);
  if (child.pid === undefined || start === undefined) {
    throw new Error(`${name} ended at once: see ${daemonLog(name)}.`);
  }
  mkdirSync(recordFolder, { recursive: true });
  const record = join(recordFolder, name);
  writeFileSync(`${record}.new`, JSON.stringify({ pid: child.pid, start }));
  renameSync(`${record}.new`, record);
  return true;
}

/** The process id while it runs. */
export function daemonPid(name: string): number | undefined {
  const file = join(recordFolder, name);
  if (!existsSync(file)) return undefined;
  const { pid, start } = recordFormat.parse(JSON.parse(readFileSync(file, "utf8")));
  return startTime(pid) === start ? pid : undefined;
}

export function daemonLog(name: string): string {
  return join(logFolder, `${name}.log`);
}

export function daemonNames(): readonly string[] {
  return existsSync(recordFolder) ? readdirSync(recordFolder) : [];
}

/** Ends it; with patience for SIGTERM, then without. */
export async function endDaemon(name: string, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  for (const { with: how, waitMs } of [
    { with: signal, waitMs: signal === "SIGTERM" ? 10_000 : 5000 },
    { with: "SIGKILL" as const, waitMs: 5000 },
  ]) {
    const pid = daemonPid(name);
    if (pid === undefined) break;
    process.kill(pid, how);
    await until(() => daemonPid(name) === undefined, waitMs);
  }
  if (daemonPid(name) !== undefined) throw new Error(`${name} does not end, even by SIGKILL.`);
  rmSync(join(recordFolder, name), { force: true });
}

/** Looks again and again until it holds or the time is over. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    if (await holds()) return true;
    if (performance.now() > endMs) return false;
    await sleep(50);
  }
}

/** Boot and start time of a living process: with the id, the process itself. */
function startTime(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The command's name, in brackets, may hold anything; state and start time stand behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return fields[0] === "Z" ? undefined : `${boot}/${fields[19]}`;
}
