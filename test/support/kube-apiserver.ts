// A real API server for tests, with an etcd of its own, both on loopback. There are no controllers
// and no nodes. It ends with the test: `await using server = await startKubeApiServer()`.
import type { ChildProcess } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { KubeConfig } from "../../core/kube/kube-config.ts";
import { endBackground, startBackground } from "../../hack/background.ts";
import { goTools } from "../../hack/tools/go-tool.ts";
import { freePort } from "./free-port.ts";

const START_TIMEOUT_MS = 90_000;

export interface KubeApiServer extends AsyncDisposable {
  readonly port: number;
  /** For the server itself, or for a relay to it on another port of loopback. */
  config(port?: number): KubeConfig;
  /** The same as a file for other programs, for the server or for a relay at another address. */
  kubeconfig(address?: string): string;
  /** Ends the API server and starts it anew on the same data: its memory of changes is gone. */
  restart(): Promise<void>;
}

export async function startKubeApiServer(): Promise<KubeApiServer> {
  const tool = await goTools("kubernetes", ["kube-apiserver"]);
  const folder = mkdtempSync(join(tmpdir(), "weir-kube-"));
  const server = new Server(tool("kube-apiserver"), folder, {
    etcd: await freePort(),
    peer: await freePort(),
    api: await freePort(),
  });
  try {
    await server.start();
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

interface Ports {
  readonly etcd: number;
  readonly peer: number;
  readonly api: number;
}

class Server implements KubeApiServer {
  readonly #program: string;
  readonly #folder: string;
  readonly #ports: Ports;
  readonly #token = randomBytes(16).toString("hex");
  #etcd: ChildProcess | undefined;
  #api: ChildProcess | undefined;

  constructor(program: string, folder: string, ports: Ports) {
    this.#program = program;
    this.#folder = folder;
    this.#ports = ports;
  }

  get port(): number {
    return this.#ports.api;
  }

  config(port: number = this.port): KubeConfig {
    return {
      server: `https://127.0.0.1:${port}`,
      tls: { ca: readFileSync(this.#certificate) },
      token: { kind: "text", text: this.#token },
    };
  }

  kubeconfig(address?: string): string {
    const { server, tls } = this.config();
    const ca = { "certificate-authority-data": Buffer.from(String(tls.ca)).toString("base64") };
    const cluster = address === undefined ? { server, ...ca } : { server: address };
    return JSON.stringify({
      ...{ apiVersion: "v1", kind: "Config", "current-context": "test" },
      clusters: [{ name: "test", cluster }],
      users: [{ name: "admin", user: { token: this.#token } }],
      contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
    });
  }

  async start(): Promise<void> {
    writeFileSync(this.#file("tokens.csv"), `${this.#token},admin,admin,"system:masters"\n`);
    const { privateKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      privateKeyEncoding: { type: "pkcs1", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "pem" },
    });
    writeFileSync(this.#file("key"), privateKey);
    this.#etcd = this.#run("etcd", "etcd", this.#etcdArguments());
    await this.#startApi();
  }

  async restart(): Promise<void> {
    if (this.#api !== undefined) await endBackground(this.#api);
    await this.#startApi();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#api !== undefined) await endBackground(this.#api);
    if (this.#etcd !== undefined) await endBackground(this.#etcd);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #startApi(): Promise<void> {
    const child = this.#run("kube-apiserver", this.#program, this.#apiArguments());
    this.#api = child;
    const endMs = performance.now() + START_TIMEOUT_MS;
    while (performance.now() < endMs && child.exitCode === null) {
      if (await this.#isReady()) return;
      await sleep(50);
    }
    const log = readFileSync(this.#file("kube-apiserver.log"), "utf8").slice(-4000);
    throw new Error(`kube-apiserver did not start:\n${log}`);
  }

  #etcdArguments(): string[] {
    const client = `http://127.0.0.1:${this.#ports.etcd}`;
    const peer = `http://127.0.0.1:${this.#ports.peer}`;
    return [
      ...["--data-dir", this.#file("etcd"), "--log-level", "warn"],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
      ...["--initial-cluster", `default=${peer}`],
    ];
  }

  #apiArguments(): string[] {
    return [
      `--etcd-servers=http://127.0.0.1:${this.#ports.etcd}`,
      ...["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"],
      `--secure-port=${this.port}`,
      `--cert-dir=${this.#file("certificates")}`,
      "--service-cluster-ip-range=10.0.0.0/24",
      ...[`--token-auth-file=${this.#file("tokens.csv")}`, "--authorization-mode=RBAC"],
      "--allow-privileged=true",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${this.#file("key")}`,
      `--service-account-signing-key-file=${this.#file("key")}`,
    ];
  }

  async #isReady(): Promise<boolean> {
    if (!existsSync(this.#certificate)) return false;
    const ca = readFileSync(this.#certificate);
    const headers = { authorization: `Bearer ${this.#token}` };
    const asked = request({ host: "127.0.0.1", port: this.port, path: "/readyz", ca, headers });
    asked.end();
    try {
      const [answer] = await once(asked, "response");
      answer.resume();
      return answer.statusCode === 200;
    } catch {
      return false;
    }
  }

  #run(name: string, program: string, args: readonly string[]): ChildProcess {
    const logFile = this.#file(`${name}.log`);
    return startBackground({ command: [program, ...args], logFile });
  }

  get #certificate(): string {
    return this.#file("certificates/apiserver.crt");
  }

  #file(name: string): string {
    return join(this.#folder, name);
  }
}
