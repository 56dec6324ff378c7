// `weir serve` as a process of its own, to be killed and started again: `await using weir = await
// startWeir(...)`. Its folder lies on a disk; what it logs at level warn or above and nobody listed
// fails the test.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { checkout } from "../../hack/places.ts";
import { outputOf } from "../../hack/program.ts";
import { makeNodeFolder } from "./node-under-test.ts";

export interface WeirProcess extends AsyncDisposable {
  readonly folder: string;
  readonly store: string;
  /** Of the running engine. */
  readonly pid: number;
  socketOf(volume: string): string;
  /** Runs a `weir` command; the document that it prints with --json. */
  command(...args: readonly string[]): Promise<unknown>;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  /**
   * Starts the engine again; resolves when it takes commands, with every recorded volume recovered.
   */
  start(): Promise<void>;
  /** As if the node had lost its disk. REQUIRES a killed engine. */
  wipe(): void;
  log(): string;
}

export interface WeirProcessOptions {
  /** A store URL; a folder beside the state otherwise. */
  readonly store?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

const START_MS_MAX = 60_000;

export async function startWeir(options: WeirProcessOptions = {}): Promise<WeirProcess> {
  const weir = new Weir(makeNodeFolder(), options);
  await weir.start();
  return weir;
}

class Weir implements WeirProcess {
  readonly folder: string;
  readonly store: string;
  readonly #options: WeirProcessOptions;
  #child: ChildProcess | undefined;

  constructor(folder: string, options: WeirProcessOptions) {
    this.folder = folder;
    this.#options = options;
    this.store = options.store ?? `file://${join(folder, "store")}`;
    if (options.store === undefined) mkdirSync(join(folder, "store"));
    writeFileSync(
      join(folder, "config.json"),
      JSON.stringify({ journalBytes: 256 * 1024 * 1024, ...options.config }),
    );
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the engine does not run");
    return pid;
  }

  socketOf(volume: string): string {
    return join(this.folder, "run", `${volume}.nbd`);
  }

  async command(...args: readonly string[]): Promise<unknown> {
    const text = await outputOf([...this.#program(), "--json", "--quiet", ...args], {
      timeoutMs: 120_000,
      env: this.#options.env ?? {},
    });
    return JSON.parse(text);
  }

  async start(): Promise<void> {
    const control = join(this.folder, "run", "control.sock");
    rmSync(control, { force: true });
    const [file = "", ...args] = this.#program();
    const log = openSync(join(this.folder, "log"), "a");
    const child = spawn(file, [...args, "serve", "--config", join(this.folder, "config.json")], {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...this.#options.env },
    });
    closeSync(log);
    this.#child = child;
    for (let waited = 0; !existsSync(control); waited += 5) {
      if (child.exitCode !== null || waited > START_MS_MAX)
        throw new Error(`weir serve did not start:\n${this.log()}`);
      await sleep(5);
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  wipe(): void {
    rmSync(join(this.folder, "state"), { recursive: true, force: true });
  }

  log(): string {
    return readFileSync(join(this.folder, "log"), "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #program(): string[] {
    return [
      join(checkout, "csi-node", "cli", "weir"),
      ...["--store", this.store],
      ...["--state", join(this.folder, "state")],
      ...["--run", join(this.folder, "run")],
    ];
  }
}
