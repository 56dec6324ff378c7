// A node for tests and the demo: folders of its own, the real `weir` command as real processes,
// and the data path from outside, through NBD clients that are not ours. Everything it started
// ends with it.
import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { cache, checkout } from "../../hack/places.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";

const weirProgram = join(checkout, "csi-node", "cli", "weir");
const COMMAND_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;

export interface CommandEnd {
  /** 128 + n is not imitated: a signal gives -1. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface WeirNodeOptions {
  /** `file://<folder>/store` unless given; nodes with the same one share their volumes. */
  readonly storeUrl?: string | undefined;
  readonly stateDirectory?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** Takes what the engine logs: a test checks it, the demo does not. */
  readonly engineLog?: { write(chunk: string): void };
}

interface Engine {
  readonly child: ChildProcess;
  readonly exit: Promise<unknown>;
}

export class WeirNode implements AsyncDisposable {
  /** Below the cache, because /tmp may be in memory, and class `local` needs a disk. */
  readonly folder = mkdtempSync(join(cache, "node-"));
  readonly storeUrl: string;
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #engineLog: { write(chunk: string): void } | undefined;
  #engine: Engine | undefined;
  #engineStderr = "";

  constructor(options: WeirNodeOptions = {}) {
    const store = join(this.folder, "store");
    if (options.storeUrl === undefined) mkdirSync(store);
    this.storeUrl = options.storeUrl ?? `file://${store}`;
    this.stateDirectory = options.stateDirectory ?? join(this.folder, "state");
    this.runDirectory = join(this.folder, "run");
    this.#engineLog = options.engineLog;
    this.#env = {
      ...process.env,
      ...options.env,
      WEIR_STORE: this.storeUrl,
      WEIR_STATE: this.stateDirectory,
      WEIR_RUN: this.runDirectory,
    };
  }

  /** The folder behind a directory store. */
  get storeFolder(): string {
    return new URL(this.storeUrl).pathname;
  }

  /** Runs a `weir` command to its end, whatever that is. */
  weir(...args: readonly string[]): Promise<CommandEnd> {
    return runToEnd(weirProgram, args, this.#env);
  }

  /** Standard output of a `weir` command that must work. */
  async must(...args: readonly string[]): Promise<string> {
    const end = await this.weir(...args);
    if (end.exitCode === 0) return end.stdout.trim();
    throw new Error(`weir ${args.join(" ")} ended with ${end.exitCode}: ${end.stderr}`);
  }

  /** Starts the engine; gives its `ready` line, or what it said when it would not start. */
  async serve(...args: readonly string[]): Promise<string> {
    const child = spawn(weirProgram, ["serve", ...args], {
      env: this.#env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const killed = (): void => void child.kill("SIGKILL");
    process.once("exit", killed);
    const exit = once(child, "exit").finally(() => process.off("exit", killed));
    this.#engine = { child, exit };
    this.#engineStderr = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      this.#engineLog?.write(chunk);
      this.#engineStderr += chunk;
    });
    const ready = once(child.stdout.setEncoding("utf8"), "data");
    const line = await Promise.race([ready, exit.then(() => undefined)]);
    if (line !== undefined) return String(line[0]).trim();
    this.#engine = undefined;
    throw new Error(this.#engineStderr.trim());
  }

  /**
   * Starts an engine that takes over from the one that runs, and ends that one when it has; gives
   * the new one's `ready` line. When it will not start, the former one runs on.
   */
  async takeOver(...args: readonly string[]): Promise<string> {
    const former = this.#engine;
    if (former === undefined) throw new Error("there is no engine to take over from");
    let line: string;
    try {
      line = await this.serve("--take-over", ...args);
    } catch (cause) {
      this.#engine = former;
      throw cause;
    }
    const exitCode = await end(former, "SIGTERM");
    if (exitCode === 0) return line;
    throw new Error(
      `the former engine ended with ${exitCode ?? "a signal: it did not end itself"}`,
    );
  }

  /** What the last engine wrote on standard error. */
  get engineStderr(): string {
    return this.#engineStderr;
  }

  get enginePid(): number | undefined {
    return this.#engine?.child.pid;
  }

  /** Ends the engine and gives its exit status; null when the signal ended it. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    const engine = this.#engine;
    if (engine === undefined) return null;
    this.#engine = undefined;
    return end(engine, signal);
  }

  /**
   * Loses everything but the store, as when the node burns. REQUIRES that the engine was stopped.
   */
  loseState(): void {
    rmSync(this.stateDirectory, { recursive: true, force: true });
  }

  /** Attaches over NBD and gives the URI. */
  attach(name: string, ...args: readonly string[]): Promise<string> {
    return this.must("attach", name, ...args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The exit status; null when a signal ended it, at the latest SIGKILL after a while. */
async function end({ child, exit }: Engine, signal: NodeJS.Signals): Promise<number | null> {
  child.kill(signal);
  const patience = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await exit;
  clearTimeout(patience);
  return child.exitCode;
}

/** Copies a file onto a device from its first byte on, and flushes. */
export async function writeDevice(uri: string, file: string): Promise<void> {
  const end = await runToEnd("nbdcopy", ["--flush", file, uri], process.env);
  if (end.exitCode !== 0) throw new Error(`nbdcopy could not write: ${end.stderr.trim()}`);
}

/** Copies a whole device into a file. Fails when any block gives an I/O error. */
export async function readDevice(uri: string, file: string): Promise<void> {
  const end = await runToEnd("nbdcopy", [uri, file], process.env);
  if (end.exitCode !== 0) throw new Error(`nbdcopy could not read: ${end.stderr.trim()}`);
}

export async function hashFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}

/** SHA-256 of a whole device. Fails when any block gives an I/O error. */
export async function hashDevice(uri: string): Promise<string> {
  const child = spawn("nbdcopy", [uri, "-"], { stdio: ["ignore", "pipe", "pipe"] });
  const hash = createHash("sha256");
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (complaint += chunk));
  const exit = once(child, "exit");
  await pipeline(child.stdout, hash);
  const [exitCode] = await exit;
  if (exitCode !== 0) throw new Error(`nbdcopy could not read: ${complaint.trim()}`);
  return hash.digest("hex");
}

export async function deviceBytes(uri: string): Promise<number> {
  const end = await runToEnd("nbdinfo", ["--size", uri], process.env);
  return Number(end.stdout);
}

/**
 * Makes a file that looks like a file system to the engine: text, noise, holes, and blocks that
 * repeat. The same seed gives the same bytes.
 */
export async function makeImage(options: {
  readonly file: string;
  readonly sizeBytes: number;
  readonly seed: number;
}): Promise<string> {
  const { file, sizeBytes, seed } = options;
  const random = new SeededRandom(seed);
  const hash = createHash("sha256");
  const target = createWriteStream(file);
  for (let offset = 0; offset < sizeBytes; offset += IMAGE_PIECE_BYTES) {
    const piece = imagePiece(random, Math.min(IMAGE_PIECE_BYTES, sizeBytes - offset));
    hash.update(piece);
    if (!target.write(piece)) await once(target, "drain");
  }
  target.end();
  await once(target, "close");
  return hash.digest("hex");
}

const IMAGE_PIECE_BYTES = 64 * 1024;

function imagePiece(random: SeededRandom, bytes: number): Buffer {
  switch (random.integer(4)) {
    case 0:
      return Buffer.alloc(bytes);
    case 1:
      return Buffer.alloc(bytes, `the river ${random.hex32()} runs past the weir\n`);
    case 2:
      return Buffer.alloc(bytes, random.hex32(), "hex");
    default:
      return Buffer.from(
        Uint32Array.from({ length: bytes / 4 }, () => random.integer(2 ** 32)).buffer,
      );
  }
}

async function runToEnd(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<CommandEnd> {
  const child = spawn(program, args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: COMMAND_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  // `close`, not `exit`: the pipes are read to their ends.
  const [exitCode] = await once(child, "close");
  return { exitCode: typeof exitCode === "number" ? exitCode : -1, stdout, stderr };
}
