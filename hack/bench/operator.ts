// The operator with thousands of Volumes: the real process, a real API server, a directory as the
// bucket. What it asks while nothing happens, how soon it acts on a change, what memory it takes,
// and whether a restart writes anything. Without nodes: no volume is attached.
import type { ChildProcess } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { ClientKube } from "../../core/kube/client-kube.ts";
import { Reflector } from "../../core/kube/reflector.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { hasCondition } from "../../crds/conditions.ts";
import { VOLUME, type Volume } from "../../crds/volume.ts";
import { freePort } from "../../test/support/free-port.ts";
import { installCrds } from "../../test/support/install-crds.ts";
import { startKubeApiServer, type KubeApiServer } from "../../test/support/kube-apiserver.ts";
import { endBackground, startBackground } from "../background.ts";
import { ensurePackages } from "../packages.ts";
import { checkout, nodeFolder } from "../places.ts";
import { TICKS_PER_SECOND } from "./fio.ts";
import { startKubeRelay, type KubeRelay } from "./kube-relay.ts";
import { atMost, inform, median, type Row } from "./rows.ts";

const VOLUMES = 2000;
const CALLERS = 16;
const CHANGES = 20;
const ROUNDS_OF_CHANGES = 3;
/** Each asks who in the bucket may need its data; they share the looking. */
const DELETIONS = 100;
/** Of the 512 MiB that the chart gives it: half, and three quarters while many volumes go. */
const MEMORY_BAR_MIB = 256;
const MEMORY_BAR_DELETING_MIB = 384;
/** Watches are ended by the server every four minutes or so, and taken up again. */
const QUIET_SECONDS = 60;
const WAIT_MS = 600_000;
const MIB = 2 ** 20;
const FIELD_MANAGER = "weir-bench";

const call = { signal: new AbortController().signal };

export async function benchOperator(options: { readonly folder: string }): Promise<Row[]> {
  await ensurePackages(["kubernetes"]);
  const folder = join(options.folder, "operator");
  mkdirSync(join(folder, "store"), { recursive: true });
  await using server = await startKubeApiServer();
  await using relay = await startKubeRelay(server);
  using kube = clientOf(server);
  await installCrds(kube);
  await using volumes = new Reflector({ ...ports, api: kube, kind: VOLUME });
  const bench = new OperatorBench({ folder, server, relay, kube, volumes });
  try {
    return await bench.run();
  } finally {
    await bench.stop();
  }
}

const ports = { clock: realClock, random: realRandom, log: pino({ level: "silent" }) };

function clientOf(server: KubeApiServer): ClientKube {
  return new ClientKube({
    ...ports,
    config: server.config(),
    userAgent: `${FIELD_MANAGER}/1`,
    reportingController: FIELD_MANAGER,
    reportingInstance: FIELD_MANAGER,
  });
}

interface Parts {
  readonly folder: string;
  readonly server: KubeApiServer;
  readonly relay: KubeRelay;
  readonly kube: ClientKube;
  readonly volumes: Reflector<Volume>;
}

class OperatorBench {
  readonly #parts: Parts;
  #operator: ChildProcess | undefined;
  #httpPort = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async run(): Promise<Row[]> {
    const rows: Row[] = [];
    const note = (...found: Row[]): void => {
      rows.push(...found);
      for (const { name, value, unit } of found) console.error(`  ${name}: ${value} ${unit}`);
    };
    await this.#start();
    note(await this.#createAll());
    note(...(await this.#quiet()));
    note(...(await this.#changes()));
    note(...(await this.#memory()));
    note(...(await this.#restart()));
    note(...(await this.#deleteSome()));
    return rows;
  }

  async stop(): Promise<void> {
    if (this.#operator !== undefined) await endBackground(this.#operator);
  }

  /** Resolves when it leads and has seen all there is. */
  async #start(): Promise<void> {
    const { folder, relay, server } = this.#parts;
    this.#httpPort = await freePort();
    const config = join(folder, "kubeconfig.json");
    writeFileSync(config, server.kubeconfig(relay.address));
    this.#operator = startBackground({
      command: [
        ...[join(nodeFolder, "bin", "node"), join(checkout, "operator/main.ts")],
        ...["--csi-endpoint", `unix:${folder}/csi.sock`, "--leader-election-namespace", "default"],
        ...["--http-endpoint", `127.0.0.1:${this.#httpPort}`],
        ...["--store", `file://${join(folder, "store")}`],
      ],
      logFile: join(folder, "operator.log"),
      env: { KUBECONFIG: config },
    });
    await this.#until("the operator leads", async () => {
      const text = await this.#metrics();
      return /^weir_leader 1$/mu.test(text);
    });
  }

  async #createAll(): Promise<Row> {
    const { kube } = this.#parts;
    const startMs = performance.now();
    await inParallel(VOLUMES, async (index) => {
      await kube.create(VOLUME, volumeNamed(nameOf(index)), call);
    });
    await this.#until("every Volume is Ready", () => this.#ready() === VOLUMES);
    return inform(`${VOLUMES} Volumes from kubectl to Ready`, secondsSince(startMs), "s");
  }

  /** Requests of a minute in which nothing happens. */
  async #quiet(): Promise<Row[]> {
    const { relay } = this.#parts;
    await sleep(5_000);
    const before = this.#cpuSeconds();
    relay.take();
    await sleep(QUIET_SECONDS * 1000);
    const asked = relay.take();
    const cpuMs = (this.#cpuSeconds() - before) * 1000;
    const perMinute = (isCounted: (what: string) => boolean): number =>
      (sum(asked, isCounted) * 60) / QUIET_SECONDS;
    const isLease = (what: string): boolean => what.endsWith(" leases");
    return [
      atMost(
        "quiet operator: API requests but for its Lease",
        perMinute((what) => !isLease(what)),
        "/min",
        5,
      ),
      // Every two seconds, a look and a renewal: what keeps a second leader out.
      atMost("quiet operator: API requests for its Lease", perMinute(isLease), "/min", 60),
      inform("quiet operator: CPU", (cpuMs * 60) / QUIET_SECONDS, "ms/min"),
    ];
  }

  /** One more Volume at a time: from its creation to its being Ready, as a client sees it. */
  async #changes(): Promise<Row[]> {
    const { kube, volumes } = this.#parts;
    const took: number[] = [];
    for (let index = VOLUMES; index < VOLUMES + CHANGES; index += 1) {
      const name = nameOf(index);
      const ready = Promise.withResolvers<void>();
      const end = volumes.onChange((key) => {
        if (key === name && isReady(volumes.get(key))) ready.resolve();
      });
      const startMs = performance.now();
      await kube.create(VOLUME, volumeNamed(name), call);
      await ready.promise;
      took.push(performance.now() - startMs);
      end();
    }
    return [
      inform("one change among the others: Ready after, median", median(took), "ms"),
      atMost("one change among the others: Ready after, slowest", Math.max(...took), "ms", 1000),
    ];
  }

  /** Every Volume changes a few times over; the memory must not follow. */
  async #memory(): Promise<Row[]> {
    const { kube } = this.#parts;
    const before = this.#memoryMib("VmRSS");
    for (let round = 1; round <= ROUNDS_OF_CHANGES; round += 1) {
      await inParallel(VOLUMES, async (index) => {
        const metadata = { labels: { round: String(round) } };
        await kube.merge(VOLUME, { name: nameOf(index) }, { metadata }, call);
      });
    }
    await sleep(5_000);
    const changes = ROUNDS_OF_CHANGES * VOLUMES;
    return [
      inform(`memory with ${VOLUMES} Volumes`, before, "MiB"),
      inform(`memory after ${changes} changes more`, this.#memoryMib("VmRSS"), "MiB"),
      atMost("memory at its peak", this.#memoryMib("VmHWM"), "MiB", MEMORY_BAR_MIB),
    ];
  }

  /** It finds everything as it must be, and so only reads. */
  async #restart(): Promise<Row[]> {
    const { relay } = this.#parts;
    await this.stop();
    relay.take();
    const startMs = performance.now();
    await this.#start();
    const seconds = secondsSince(startMs);
    await sleep(10_000);
    const asked = relay.take();
    const isWrite = (what: string): boolean => !/^GET | leases$/u.test(what);
    return [
      inform("restart: to leading", seconds, "s"),
      atMost("restart: writes but for the Lease", sum(asked, isWrite), "requests", 0),
      inform(
        "restart: reads",
        sum(asked, (what) => what.startsWith("GET ")),
        "requests",
      ),
    ];
  }

  /** As when a hundred claims go at once. */
  async #deleteSome(): Promise<Row[]> {
    const { folder, kube, volumes } = this.#parts;
    const before = objectsIn(join(folder, "store"));
    const startMs = performance.now();
    await inParallel(DELETIONS, async (index) => {
      await kube.delete(VOLUME, { name: nameOf(index) }, call);
    });
    const left = VOLUMES + CHANGES - DELETIONS;
    await this.#until("the Volumes are gone", () => volumes.items().length === left);
    const seconds = secondsSince(startMs);
    const gone = before - objectsIn(join(folder, "store"));
    return [
      inform(`${DELETIONS} Volumes from kubectl delete to gone`, seconds, "s"),
      atMost(
        "objects that they left in the bucket",
        before * (DELETIONS / (VOLUMES + CHANGES)) - gone,
        "objects",
        0,
      ),
      atMost(
        "memory at its peak, deletions included",
        this.#memoryMib("VmHWM"),
        "MiB",
        MEMORY_BAR_DELETING_MIB,
      ),
    ];
  }

  async #metrics(): Promise<string> {
    try {
      return await (await fetch(`http://127.0.0.1:${this.#httpPort}/metrics`)).text();
    } catch {
      return "";
    }
  }

  #ready(): number {
    return this.#parts.volumes.items().filter(isReady).length;
  }

  #cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.#operator?.pid ?? ""}/stat`, "utf8");
    // Fields 14 and 15, counted behind the command's closing parenthesis: it may hold spaces.
    const fields = stat.replace(/^.*\)\s/su, "").split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  #memoryMib(field: "VmRSS" | "VmHWM"): number {
    const status = readFileSync(`/proc/${this.#operator?.pid ?? ""}/status`, "utf8");
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, "mu").exec(status)?.[1];
    return (Number(kib) * 1024) / MIB;
  }

  async #until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = performance.now() + WAIT_MS;
    while (!(await isSo())) {
      const ended = this.#operator?.exitCode ?? undefined;
      if (ended !== undefined || performance.now() > endMs) {
        const log = readFileSync(join(this.#parts.folder, "operator.log"), "utf8").slice(-4000);
        throw new Error(`it never came true that ${what}:\n${log}`);
      }
      await sleep(20);
    }
  }
}

function nameOf(index: number): string {
  return `bench-${String(index).padStart(5, "0")}`;
}

function volumeNamed(name: string): object {
  return { metadata: { name }, spec: { size: "1Gi" } };
}

function isReady(volume: Volume | undefined): boolean {
  return hasCondition(volume?.status?.conditions, { type: "Ready", status: "True" });
}

function objectsIn(folder: string): number {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).length;
}

async function inParallel(count: number, act: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      await act(index);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
}

function sum(counts: ReadonlyMap<string, number>, isCounted: (what: string) => boolean): number {
  let total = 0;
  for (const [what, count] of counts) if (isCounted(what)) total += count;
  return total;
}

function secondsSince(startMs: number): number {
  return (performance.now() - startMs) / 1000;
}
