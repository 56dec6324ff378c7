// A real S3 server for tests: versitygw on a loopback port, its bucket in a temporary folder. It
// ends with the test that started it: `await using server = await startVersitygw()`.
import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endBackground, startBackground } from "../../hack/background.ts";
import { goTool } from "../../hack/tools/go-tool.ts";
import { freePort } from "./free-port.ts";

const START_TIMEOUT_MS = 20_000;
const STARTS_MAX = 5;

export interface Versitygw extends AsyncDisposable {
  readonly endpoint: string;
  readonly port: number;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The folder behind the bucket: an object is a file in it. */
  readonly bucketFolder: string;
  /** The store URL of a fresh prefix in the bucket, without credentials. */
  storeUrl(prefix: string): string;
  /** SIGKILL now, as a crash; the files stay until disposal. */
  kill(): Promise<void>;
  /** Starts again on the same port and files, after `kill`. */
  restart(): Promise<void>;
}

export async function startVersitygw(): Promise<Versitygw> {
  const program = await goTool("versitygw");
  const folder = mkdtempSync(join(tmpdir(), "weir-versitygw-"));
  mkdirSync(join(folder, "buckets", "weir"), { recursive: true });
  try {
    for (let start = 1; ; start += 1) {
      const server = new Server(program, folder, await freePort());
      try {
        await server.restart();
        return server;
      } catch (error) {
        // Another process may have taken the port meanwhile.
        if (start === STARTS_MAX) throw error;
      }
    }
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
}

class Server implements Versitygw {
  readonly port: number;
  readonly bucket = "weir";
  readonly accessKeyId = "weir-test";
  readonly secretAccessKey = "weir-test-secret";
  readonly bucketFolder: string;
  readonly #program: string;
  readonly #folder: string;
  #child: ChildProcess | undefined;

  constructor(program: string, folder: string, port: number) {
    this.#program = program;
    this.#folder = folder;
    this.port = port;
    this.bucketFolder = join(folder, "buckets", "weir");
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  storeUrl(prefix: string): string {
    return `s3://${this.bucket}/${prefix}?endpoint=${this.endpoint}&region=us-east-1`;
  }

  async restart(): Promise<void> {
    const child = startBackground({
      command: [
        this.#program,
        ...["--port", `127.0.0.1:${this.port}`, "--keep-alive", "--quiet"],
        ...["--health", "/health"],
        ...["posix", join(this.#folder, "buckets")],
      ],
      logFile: this.#logFile,
      env: { ROOT_ACCESS_KEY_ID: this.accessKeyId, ROOT_SECRET_ACCESS_KEY: this.secretAccessKey },
    });
    this.#child = child;
    await this.#ready(child);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child !== undefined) await endBackground(child, "SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child !== undefined) await endBackground(this.#child);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #logFile(): string {
    return join(this.#folder, "log");
  }

  async #ready(child: ChildProcess): Promise<void> {
    const endMs = performance.now() + START_TIMEOUT_MS;
    while (performance.now() < endMs && child.exitCode === null) {
      try {
        const answer = await fetch(`${this.endpoint}/health`);
        if (answer.ok) return;
      } catch {
        // It does not listen yet.
      }
      await sleep(20);
    }
    await endBackground(child, "SIGKILL");
    throw new Error(`versitygw did not start:\n${readFileSync(this.#logFile, "utf8")}`);
  }
}
