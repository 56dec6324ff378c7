// A node whose engine is killed and started again: `await using weir = await startWeir(...)`.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { WeirNode } from "./weir-node.ts";

export interface WeirProcessOptions {
  /** A store URL; a folder beside the state otherwise. */
  readonly store?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Takes what the engines log. */
  readonly engineLog?: { write(chunk: string): void };
}

/** Resolves when the engine takes commands. */
export async function startWeir(options: WeirProcessOptions = {}): Promise<WeirProcess> {
  const weir = new WeirProcess(options);
  await weir.start();
  return weir;
}

export class WeirProcess implements AsyncDisposable {
  readonly #node: WeirNode;
  readonly #configFile: string;

  constructor({ store, config, env, engineLog }: WeirProcessOptions) {
    this.#node = new WeirNode({
      storeUrl: store,
      ...(env === undefined ? {} : { env }),
      ...(engineLog === undefined ? {} : { engineLog }),
    });
    this.#configFile = join(this.#node.folder, "config.json");
    const journalBytes = 256 * 1024 * 1024;
    writeFileSync(this.#configFile, JSON.stringify({ journalBytes, ...config }));
  }

  get folder(): string {
    return this.#node.folder;
  }

  get store(): string {
    return this.#node.storeUrl;
  }

  socketOf(volume: string): string {
    return join(this.#node.runDirectory, `${volume}.nbd`);
  }

  /** Runs a `weir` command; the document that it prints with --json. */
  async command(...args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.#node.must("--json", "--quiet", ...args));
  }

  /** Starts the engine again; it takes commands, with every recorded volume recovered. */
  async start(): Promise<void> {
    await this.#node.serve("--config", this.#configFile);
  }

  /** Another engine takes over from the one that runs, which then ends. */
  async takeOver(...args: readonly string[]): Promise<void> {
    await this.#node.takeOver("--config", this.#configFile, ...args);
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    await this.#node.stop("SIGKILL");
  }

  /** As if the node had lost its disk. REQUIRES a killed engine. */
  wipe(): void {
    this.#node.loseState();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#node[Symbol.asyncDispose]();
  }
}
