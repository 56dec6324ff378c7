// The servers that benches compare: `nbdkit file` and `weir serve`, each on a folder of the same
// disk.
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endBackground, startBackground } from "../background.ts";
import { checkout } from "../places.ts";
import { outputOf } from "../program.ts";

export interface Target extends AsyncDisposable {
  readonly uri: string;
  readonly pid: number;
}

export async function startNbdkit(folder: string, sizeBytes: number): Promise<Target> {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "data");
  const socket = join(folder, "socket");
  writeFileSync(file, "");
  truncateSync(file, sizeBytes);
  const command = ["nbdkit", "--foreground", "--unix", socket, "file", file];
  const child = startBackground({ command, logFile: join(folder, "log") });
  await untilExists(socket, child);
  return targetOf(child, socket, async () => undefined);
}

export interface WeirTarget extends Target {
  /** Runs a `weir` command against the same engine; the document it prints with --json. */
  command(...args: readonly string[]): Promise<unknown>;
}

export interface WeirOptions {
  readonly folder: string;
  readonly store: string;
  readonly sizeBytes: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly attach?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A fresh volume `bench`, served over NBD. */
export async function startWeir(options: WeirOptions): Promise<WeirTarget> {
  const { folder, store } = options;
  const run = join(folder, "run");
  mkdirSync(folder, { recursive: true });
  const config = join(folder, "config.json");
  writeFileSync(config, JSON.stringify(options.config));
  const program = join(checkout, "csi-node", "cli", "weir");
  const globals = ["--store", store, "--state", join(folder, "state"), "--run", run];
  const machine = ["--json", "--quiet"];
  const env = options.env ?? {};
  const command = async (...args: readonly string[]): Promise<unknown> =>
    JSON.parse(
      await outputOf([program, ...globals, ...machine, ...args], { env, timeoutMs: 300_000 }),
    );
  await command("create", "bench", "--size", String(options.sizeBytes));
  const child = startBackground({
    command: [program, ...globals, "serve", "--config", config],
    logFile: join(folder, "log"),
    env,
  });
  await untilExists(join(run, "control.sock"), child);
  await command("attach", "bench", "--transport", "nbd", ...(options.attach ?? []));
  const target = targetOf(child, join(run, "bench.nbd"), async () => undefined);
  return { ...target, command };
}

async function untilExists(path: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 2000 && child.exitCode === null; tries += 1) {
    if (existsSync(path)) return;
    await sleep(10);
  }
  throw new Error(`${child.spawnfile} did not start: ${path} did not appear`);
}

function targetOf(child: ChildProcess, socket: string, before: () => Promise<void>): Target {
  const { pid } = child;
  if (pid === undefined) throw new Error(`${child.spawnfile} did not start`);
  return {
    uri: `nbd+unix:///?socket=${socket}`,
    pid,
    async [Symbol.asyncDispose]() {
      await before();
      await endBackground(child, "SIGKILL");
    },
  };
}
