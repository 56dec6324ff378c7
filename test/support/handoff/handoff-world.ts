// A node in memory with engines that come, take over from each other and die: real sessions, real
// log protocol, real drivers of the handoff, over fake engines (fake-native.ts) and a bucket in
// memory. Users write to its devices all the time; what they see is checked.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createVolume } from "../../../core/log/volumes.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import { FakeClock } from "../../../core/runtime/fake-clock.ts";
import { createLogger } from "../../../core/runtime/log.ts";
import { SeededRandom } from "../../../core/runtime/seeded-random.ts";
import { MemoryStore } from "../../../core/store/memory-store.ts";
import type { ObjectStore } from "../../../core/store/object-store.ts";
import { engineConfigSchema, volumePolicySchema } from "../../../csi-node/engine/config.ts";
import { EngineHost } from "../../../csi-node/engine/engine-host.ts";
import { NodeEngine } from "../../../csi-node/handoff/node-engine.ts";
import { Owners } from "../../../csi-node/handoff/owners.ts";
import { FakeMachine } from "./fake-machine.ts";
import { FakeNativeEngine } from "./fake-native.ts";
import { FakeProcess } from "./fake-process.ts";
import { FakeSockets } from "./fake-sockets.ts";

/** Above any process of this machine, so that no owner file is taken for a living one. */
const FIRST_PID = 2 ** 23;
const RESTART_MS = 1_000;
const THINK_MS = 10;
/** A real one looks first whether somebody listens there. */
const LISTEN_MS = 5;
/** What Node calls its requests to the file system; CloseReq is the end of a FileHandle. */
const FILE_WORK = /^(?:FSReq|CloseReq)/u;

export interface FakeNode {
  readonly container: string;
  readonly process: FakeProcess;
  readonly engine: NodeEngine;
  readonly native: FakeNativeEngine;
  /** Why it ended, once it has. */
  fault: unknown;
}

type OnStep = (node: { readonly container: string }, step: string) => void;

export class HandoffWorld implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly machine = new FakeMachine();
  readonly sockets = new FakeSockets();
  readonly random = new SeededRandom(1);
  readonly bucket: MemoryStore;
  readonly nodes: FakeNode[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), "weir-handoff-"));
  readonly #config: ReturnType<typeof engineConfigSchema.parse>;
  readonly #stop = new AbortController();
  readonly #users: Promise<void>[] = [];
  /** Control sockets that are open, by the process that listens. */
  readonly controls = new Map<symbol, FakeProcess>();
  #lockHolder: FakeProcess | undefined;
  #answered = 0;
  storeDown = false;
  /** Steps of every node, as `container step`. */
  onStep: OnStep = () => undefined;

  constructor() {
    this.bucket = new MemoryStore({ clock: this.clock });
    const stateDirectory = join(this.folder, "state");
    mkdirSync(stateDirectory);
    const runDirectory = join(this.folder, "run");
    this.#config = engineConfigSchema.parse({ stateDirectory, runDirectory, nodeName: "node" });
  }

  /** Requests that users got answers to. */
  get answered(): number {
    return this.#answered;
  }

  get serving(): readonly FakeNode[] {
    return this.nodes.filter((node) => node.process.isAlive && node.engine.state === "serving");
  }

  /** One engine serves every device, and nobody is about to change that. */
  get isSettled(): boolean {
    const [only, ...more] = this.serving;
    const alive = this.nodes.filter(({ process }) => process.isAlive);
    const atHome = alive.every(({ engine }) => ["serving", "idle"].includes(engine.state));
    if (only === undefined || more.length > 0 || !atHome) return false;
    return [...this.machine.devices.values()].every(
      ({ server }) => server?.process === only.process,
    );
  }

  /** Moves time to the next timer, once nothing else moves by itself. */
  async tick(): Promise<void> {
    await this.clock.settle();
    // Files are real, and as fast as they are: no time passes while one is worked on.
    while (process.getActiveResourcesInfo().some((name) => FILE_WORK.test(name))) {
      await this.clock.settle();
    }
    const nowMs = this.clock.monotonicMs();
    await this.clock.advance((this.clock.nextTimerAtMs() ?? nowMs + 1) - nowMs);
  }

  /** Moves time on until it holds; false when it does not within `withinMs`. */
  async reached(condition: () => boolean, withinMs: number): Promise<boolean> {
    const endMs = this.clock.monotonicMs() + withinMs;
    while (!condition()) {
      if (this.clock.monotonicMs() > endMs) return false;
      await this.tick();
    }
    return true;
  }

  async finished<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    await this.reached(() => isOver, Number.POSITIVE_INFINITY);
    return work;
  }

  async createVolumes(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      const { clock, random, bucket: store } = this;
      const context = { clock, random, store, signal: this.#stop.signal };
      await createVolume({ ...context, name: `v${index}`, sizeBytes: 2 ** 30 });
    }
  }

  /** Attaches all volumes with the engine of `node`, and lets a user of each write for ever. */
  async attachAll(node: FakeNode, count: number): Promise<void> {
    const policy = volumePolicySchema.parse({ durability: "s3", maxDirtyAgeMs: 50 });
    const { signal } = this.#stop;
    for (let index = 0; index < count; index += 1) {
      const options = { name: `v${index}`, transport: { kind: "ublk" } as const, policy };
      await this.hostOf(node).attach(options, { signal });
    }
    for (const id of this.machine.devices.keys()) this.#users.push(this.#use(id));
  }

  readonly #hosts = new Map<FakeNode, EngineHost>();

  hostOf(node: FakeNode): EngineHost {
    const host = this.#hosts.get(node);
    if (host === undefined) throw new WeirError("internal", "the node has no engine");
    return host;
  }

  /** A container whose process is started anew whenever it ends, as kubelet does. */
  async run(container: string, options: { readonly takeOver: boolean }): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const node = this.spawn(container);
      const dead = new Promise<void>((resolve) => {
        node.process.whenDead(resolve);
      });
      void this.#live(node, options).catch((fault: unknown) => {
        node.fault = fault;
        node.process.kill();
      });
      await dead;
      await this.clock.sleep(RESTART_MS, this.#stop.signal).catch(() => undefined);
    }
  }

  async #live(node: FakeNode, { takeOver }: { readonly takeOver: boolean }): Promise<void> {
    const { signal } = this.#stop;
    await node.engine.start({ takeOver, signal });
    await node.engine.serve(signal);
  }

  /** A process that has not started its engine yet. */
  spawn(container: string): FakeNode {
    const { machine, sockets, clock } = this;
    const process = new FakeProcess({ pid: FIRST_PID + this.nodes.length, clock });
    machine.adopt(process);
    process.whenDead(() => {
      if (this.#lockHolder === process) this.#lockHolder = undefined;
    });
    const onStep = (step: string): void => this.onStep({ container }, step);
    const native = new FakeNativeEngine({ machine, process, sockets, onStep });
    const log = createLogger({ level: "silent", name: container });
    const config = this.#config;
    const host = new EngineHost({
      ...{ engine: native, clock: process.clock, random: this.random, log, config },
      ...{ store: this.#storeOf(process), writer: "node", bootId: "boot" },
    });
    const identity = { pid: process.pid, startTicks: "1", build: "0.0.0" };
    const engine = new NodeEngine({
      ...{ engine: native, host, clock: process.clock, log },
      runDirectory: config.runDirectory,
      owners: new Owners({
        directory: join(config.runDirectory, "owners"),
        identity,
        isRunning: async ({ pid }) =>
          this.nodes.some((node) => node.process.pid === pid && node.process.isAlive),
      }),
      lock: () => this.#lock(process),
      listenControl: () => this.#listenControl(process),
      openCache: async () => undefined,
      onDie: (fault) => {
        node.fault = fault;
        process.kill();
      },
      onState: (role, name) => onStep(`${role} ${name}`),
    });
    const node: FakeNode = { container, process, engine, native, fault: undefined };
    this.#hosts.set(node, host);
    this.nodes.push(node);
    return node;
  }

  async #listenControl(process: FakeProcess): Promise<{ close(): Promise<void> }> {
    await process.clock.sleep(LISTEN_MS);
    const control = Symbol("control");
    this.controls.set(control, process);
    return {
      close: async () => {
        await process.turn();
        this.controls.delete(control);
      },
    };
  }

  async #lock(process: FakeProcess): Promise<{ close(): Promise<void> }> {
    await process.turn();
    if (this.#lockHolder !== undefined) throw new WeirError("journal-busy", "it is taken");
    this.#lockHolder = process;
    return {
      close: async () => {
        if (this.#lockHolder === process) this.#lockHolder = undefined;
      },
    };
  }

  #storeOf(process: FakeProcess): ObjectStore {
    const { bucket } = this;
    const reach = <T>(request: () => Promise<T>): Promise<T> =>
      process.ask(async () => {
        if (this.storeDown) throw new WeirError("store-unavailable", "the store is down");
        return request();
      });
    return {
      label: bucket.label,
      create: (key, body, options) => reach(() => bucket.create(key, body, options)),
      get: (key, options) => reach(() => bucket.get(key, options)),
      list: (prefix, options) => reach(() => bucket.list(prefix, options)),
      delete: (key, options) => reach(() => bucket.delete(key, options)),
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  /** Writes, and reads back what it wrote; one request at a time. */
  async #use(id: number): Promise<void> {
    const device = this.machine.devices.get(id);
    const { signal } = this.#stop;
    if (device === undefined) return;
    for (let value = 1; !signal.aborted; value += 1) {
      const block = value % 16;
      await device.ask(block, value);
      const found = await device.ask(block, null);
      if (found !== value) this.machine.violate(`device ${id} lost a write: ${found} of ${value}`);
      this.#answered += 2;
      await this.clock.sleep(THINK_MS, signal).catch(() => undefined);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new WeirError("aborted", "the test ends"));
    for (const { process } of this.nodes) process.kill();
    await this.clock.settle();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
