// The whole driver in one process: the operator's world, and for each node the real CSI node
// service over the fake engine and the fake machine. Engine and machine take their time, fail
// before or after they did what was asked, and a node service can be killed in the middle of it.
//
// What no call may do is watched here: format a filesystem away, fail for a reason that is our bug.
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability,
} from "../../core/csi/generated/csi.ts";
import { findVolume } from "../../core/log/volumes.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { FakeEngine } from "../../csi-node/control/fake-engine.ts";
import type { EngineApi } from "../../csi-node/control/engine-api.ts";
import { FakeMounter, type FakeDisk } from "../../csi-node/csi/fake-mounter.ts";
import type { Mounter } from "../../csi-node/csi/mounter.ts";
import { nodeService } from "../../csi-node/csi/node-service.ts";
import { VolumeWork } from "../../csi-node/csi/volume-work.ts";
import type { OperatorWorld } from "./operator-world.ts";

/** The longest that one step of engine or machine takes. */
const STEP_MS = 60;

/** What can fail; everything else only takes its time. */
const MACHINE_CALLS: ReadonlySet<string | symbol> = new Set<keyof Mounter>([
  ...(["mount", "bind", "unmount", "format", "erase", "grow", "content"] as const),
  ...(["makeDirectory", "makeFile", "remove"] as const),
]);
const ENGINE_CALLS: ReadonlySet<string | symbol> = new Set<keyof EngineApi>([
  ...(["status", "attach", "detach", "grow"] as const),
]);

export class CsiNode {
  readonly name: string;
  readonly engine = new FakeEngine();
  readonly mounter = new FakeMounter();
  readonly #world: OperatorWorld;
  readonly #all: ReadonlyMap<string, CsiNode>;
  readonly #faults: Faults;
  readonly #uids = new Map<string, string>();
  #process: NodeProcess;

  constructor(options: {
    readonly name: string;
    readonly world: OperatorWorld;
    /** All nodes, this one among them. */
    readonly nodes: ReadonlyMap<string, CsiNode>;
    readonly disks: Map<string, FakeDisk>;
    readonly faults: Faults;
  }) {
    const { name, world, nodes, disks, faults } = options;
    this.name = name;
    this.#world = world;
    this.#all = nodes;
    this.#faults = faults;
    this.engine.onDevice = ({ volume, deviceId, devicePath, sizeBytes }) => {
      const disk = diskOf(disks, this.#uids.get(volume) ?? volume);
      this.mounter.plug(devicePath, { number: `259:${deviceId}`, sizeBytes, disk });
    };
    this.engine.onDeviceGone = ({ devicePath }) => this.mounter.unplug(devicePath);
    this.#process = this.#start();
  }

  /** Calls an RPC of the node service as it is now; fails when that is killed meanwhile. */
  call(method: string, request: object, signal: AbortSignal): Promise<unknown> {
    const { handlers, died } = this.#process;
    const handler = handlers[method];
    if (handler === undefined) throw new Error(`the node service has no ${method}`);
    return Promise.race([handler(request, { signal }), died]);
  }

  /** kill -9: what it was doing stops where it is, and its successor knows nothing of it. */
  restart(): void {
    this.#process.kill();
    this.#process = this.#start();
  }

  /** Names of volumes that the engine has, whether it may write to them or not. */
  async attached(): Promise<readonly string[]> {
    const { volumes } = await this.engine.status(this.#world.call);
    return volumes.map(({ name }) => name);
  }

  /** As an engine with the bucket before it; who attaches later fences who had it. */
  async attach(
    options: Parameters<EngineApi["attach"]>[0],
    context: Parameters<EngineApi["attach"]>[1],
  ): ReturnType<EngineApi["attach"]> {
    const { name } = options;
    const record = await findVolume({ ...this.#world.context, name });
    if (record === undefined) throw new WeirError("not-found", "there is no such volume");
    const isPresent = (await this.attached()).includes(name);
    if (isPresent && this.#uids.get(name) !== record.uid) {
      throw new WeirError("in-use", "another volume of this name is attached");
    }
    if (!isPresent && this.#uids.get(name) !== record.uid) {
      this.#uids.set(name, record.uid);
      this.engine.create(name, record.sizeBytes);
    }
    for (const other of this.#all.values()) {
      if (other === this || isPresent || !(await other.attached()).includes(name)) continue;
      await other.fence(name);
    }
    return this.engine.attach(options, context);
  }

  /** What it writes from now on reaches nobody. */
  async fence(volume: string): Promise<void> {
    this.engine.show(volume, { fault: { code: "fenced", message: "another node has it" } });
    const { volumes } = await this.engine.status(this.#world.call);
    const transport = volumes.find(({ name }) => name === volume)?.transport;
    if (transport?.kind !== "ublk") return;
    this.mounter.cutOff(transport.devicePath);
  }

  #start(): NodeProcess {
    const { clock, log } = this.#world;
    const life = { alive: true };
    const dead = Promise.withResolvers<never>();
    // Nobody may be calling when it dies.
    dead.promise.catch(() => undefined);
    const ending = new AbortController();
    const engine: EngineApi = {
      status: (context) => this.engine.status(context),
      attach: (options, context) => this.attach(options, context),
      detach: (options, context) => this.engine.detach(options, context),
      snapshot: (options, context) => this.engine.snapshot(options, context),
      grow: (options, context) => this.engine.grow(options, context),
    };
    const breakOff = async (key: string | symbol, args: unknown[]): Promise<void> => {
      if (key !== "format") return;
      this.mounter.fail("format", planted(key));
      const format: unknown = Reflect.get(this.mounter, key, this.mounter);
      if (typeof format !== "function") throw new Error("the machine cannot format");
      await Reflect.apply(format, this.mounter, args).catch(() => undefined);
      this.mounter.fail("format", undefined);
    };
    const { handlers } = nodeService({
      engine: this.#faults.over(engine, ENGINE_CALLS, life),
      mounter: this.#faults.over<Mounter>(this.mounter, MACHINE_CALLS, life, breakOff),
      clock,
      identity: { nodeName: this.name, maxVolumes: 0 },
      work: new VolumeWork({ clock, log, ending: ending.signal }),
      onStage: () => undefined,
    });
    return {
      handlers,
      died: dead.promise,
      kill: () => {
        life.alive = false;
        dead.reject(new WeirError("engine-unavailable", "the node service was killed"));
      },
    };
  }
}

interface NodeProcess {
  readonly handlers: ReturnType<typeof nodeService>["handlers"];
  readonly died: Promise<never>;
  kill(): void;
}

/** Delays and failures, from one seed. */
export class Faults {
  readonly #world: OperatorWorld;
  readonly #random: SeededRandom;
  readonly #rate: number;
  /** Planted or not: off while a test cleans up and looks. */
  isOn = false;

  constructor(options: { readonly world: OperatorWorld; readonly rate: number }) {
    this.#world = options.world;
    this.#random = options.world.random.fork();
    this.#rate = options.rate;
  }

  /** The same object, but slow, failing, and silent for ever once its process is dead. */
  over<T extends object>(
    target: T,
    methods: ReadonlySet<string | symbol>,
    life: { readonly alive: boolean },
    /** Leaves the call half done, where that is worse than not at all. */
    breakOff: (key: string | symbol, args: unknown[]) => Promise<void> = () => Promise.resolve(),
  ): T {
    return new Proxy(target, {
      get: (object, key) => {
        const value: unknown = Reflect.get(object, key, object);
        if (typeof value !== "function") return value;
        const canFail = methods.has(key);
        return async (...args: unknown[]): Promise<unknown> => {
          await this.#step(life);
          if (canFail && this.#strikes()) {
            await breakOff(key, args);
            throw planted(key);
          }
          const result: unknown = await Reflect.apply(value, object, args);
          await this.#step(life);
          // Done, but whoever asked is not told.
          if (canFail && this.#strikes()) throw planted(key);
          return result;
        };
      },
    });
  }

  async #step(life: { readonly alive: boolean }): Promise<void> {
    if (this.isOn) await this.#world.clock.sleep(this.#random.integer(STEP_MS));
    if (life.alive) return;
    await new Promise<never>(() => undefined);
  }

  #strikes(): boolean {
    return this.isOn && this.#random.fraction() < this.#rate;
  }
}

function planted(key: string | symbol): WeirError {
  return new WeirError("transport-unavailable", `planted in ${String(key)}`);
}

function diskOf(disks: Map<string, FakeDisk>, uid: string): FakeDisk {
  const present = disks.get(uid);
  if (present !== undefined) return present;
  const disk: FakeDisk = { content: { kind: "empty" }, filesystemBytes: 0 };
  disks.set(uid, disk);
  return disk;
}

export function capabilityOf(kind: "block" | "filesystem"): VolumeCapability {
  const accessMode = { mode: Mode.SINGLE_NODE_MULTI_WRITER };
  if (kind === "block") return { accessType: { $case: "block", value: {} }, accessMode };
  const value = { fsType: "ext4", mountFlags: [], volumeMountGroup: "" };
  return { accessType: { $case: "mount", value }, accessMode };
}
