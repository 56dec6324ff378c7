// The engine of tests: volumes with sizes and dirty bytes, attached as ublk devices with the lowest
// free number, with every fault and every delay a test plants. It keeps EngineApi's promises:
// attaching twice answers the same, detaching what is not attached is `not-found`, a second
// snapshot with the same uid is the first one.
import { WeirError } from "../../core/runtime/errors.ts";
import {
  asEpoch,
  asNonce,
  asSeq,
  asSnapshotUid,
  asVolumeUid,
  type SnapshotUid,
} from "../../core/runtime/ids.ts";
import { abortable } from "../../core/runtime/timer-signals.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import type { AttachedVolume, CallContext, EngineApi, EngineStatus } from "./engine-api.ts";
import type { Method } from "./messages.ts";

type Options<M extends keyof EngineApi> = Parameters<EngineApi[M]>[0];

/** What a test may change of an attached volume. */
type Shown = Partial<Omit<AttachedVolume, "name" | "transport">>;

interface FakeVolume {
  readonly name: string;
  readonly uid: string;
  sizeBytes: number;
  epoch: number;
  /** `undefined`: not attached. */
  deviceId: number | undefined;
  shown: Shown;
}

export interface FakeDevice {
  readonly volume: string;
  readonly deviceId: number;
  readonly devicePath: string;
  readonly sizeBytes: number;
}

export class FakeEngine implements EngineApi {
  readonly #volumes = new Map<string, FakeVolume>();
  readonly #snapshots = new Map<string, SnapshotRecord>();
  readonly #faults = new Map<Method, WeirError>();
  readonly #gates = new Map<Method, Promise<void>>();
  #waiting: EngineStatus["waiting"] = [];

  /** Every call so far, in order. */
  readonly calls: { readonly method: Method; readonly options: object }[] = [];

  /** What the kernel does when a device comes, changes its size, or goes. */
  onDevice: (device: FakeDevice) => void = () => undefined;
  onDeviceGone: (device: FakeDevice) => void = () => undefined;

  create(name: string, sizeBytes: number): void {
    const uid = (this.#volumes.size + 1).toString(16).padStart(32, "0");
    this.#volumes.set(name, { name, uid, sizeBytes, epoch: 0, deviceId: undefined, shown: {} });
  }

  /** Every call of the method fails so until it is told otherwise. */
  fail(method: Method, fault: WeirError | undefined): void {
    if (fault === undefined) this.#faults.delete(method);
    else this.#faults.set(method, fault);
  }

  /** Calls of the method wait until the result is called. */
  hold(method: Method): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gates.set(method, promise);
    return () => {
      this.#gates.delete(method);
      resolve();
    };
  }

  /** How the volume shows itself in `status`. */
  show(name: string, shown: Shown): void {
    const volume = this.#known(name);
    volume.shown = { ...volume.shown, ...shown };
  }

  /** The last one that it took part in. */
  handoff: EngineStatus["handoff"] = null;

  /** As after a restart that could not take the volume up again. */
  setWaiting(waiting: EngineStatus["waiting"]): void {
    this.#waiting = waiting;
    for (const { name } of waiting) {
      const volume = this.#volumes.get(name);
      if (volume !== undefined) volume.deviceId = undefined;
    }
  }

  callsOf(method: Method): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  async status(context: CallContext): Promise<EngineStatus> {
    await this.#enter("status", {}, context);
    const attached = [...this.#volumes.values()].filter(({ deviceId }) => deviceId !== undefined);
    const cache = { ramHits: 0, fileHits: 0, misses: 0, ramBytes: 0, fileBytes: 0, corrupt: 0 };
    return {
      store: "memory:",
      volumes: attached.map((volume) => describe(volume)),
      waiting: this.#waiting,
      cache,
      handoff: this.handoff,
    };
  }

  async attach(options: Options<"attach">, context: CallContext): Promise<AttachedVolume> {
    await this.#enter("attach", options, context);
    const volume = this.#known(options.name);
    if (volume.deviceId === undefined) {
      volume.deviceId = this.#freeDevice();
      volume.epoch += 1;
      this.#waiting = this.#waiting.filter(({ name }) => name !== options.name);
      this.onDevice(deviceOf(volume, volume.deviceId));
    }
    return describe(volume);
  }

  async detach(options: Options<"detach">, context: CallContext): Promise<void> {
    await this.#enter("detach", options, context);
    const volume = this.#volumes.get(options.name);
    if (volume?.deviceId === undefined) {
      throw new WeirError("not-found", "the volume is not attached here");
    }
    const device = deviceOf(volume, volume.deviceId);
    volume.deviceId = undefined;
    volume.shown = {};
    this.onDeviceGone(device);
  }

  async snapshot(
    options: Options<"snapshot"> & { readonly uid?: SnapshotUid | undefined },
    context: CallContext,
  ): Promise<SnapshotRecord> {
    await this.#enter("snapshot", options, context);
    const volume = this.#known(options.name);
    const present = this.#snapshots.get(options.snapshot);
    if (present !== undefined) {
      if (present.uid === options.uid) return present;
      throw new WeirError("name-taken", "there is a snapshot of that name already");
    }
    const uid = options.uid ?? asSnapshotUid("5".repeat(32));
    const position = { epoch: asEpoch(volume.epoch), seq: asSeq(this.#snapshots.size + 1) };
    const record: SnapshotRecord = {
      ...{ format: 1, uid, name: options.snapshot, volume: asVolumeUid(volume.uid), position },
      checkpoint: { volume: asVolumeUid(volume.uid), ...position },
      sizeBytes: volume.sizeBytes,
      createdAtMs: 1_900_000_000_000,
      nonce: asNonce("0".repeat(32)),
    };
    this.#snapshots.set(options.snapshot, record);
    return record;
  }

  async grow(options: Options<"grow">, context: CallContext): Promise<void> {
    await this.#enter("grow", options, context);
    const volume = this.#known(options.name);
    if (options.sizeBytes < volume.sizeBytes) {
      throw new WeirError("invalid-argument", "a volume never shrinks");
    }
    volume.sizeBytes = options.sizeBytes;
    if (volume.deviceId !== undefined) this.onDevice(deviceOf(volume, volume.deviceId));
  }

  async #enter(method: Method, options: object, { signal }: CallContext): Promise<void> {
    this.calls.push({ method, options });
    await abortable(this.#gates.get(method) ?? Promise.resolve(), signal);
    const fault = this.#faults.get(method);
    if (fault !== undefined) throw fault;
  }

  #known(name: string): FakeVolume {
    const volume = this.#volumes.get(name);
    if (volume !== undefined) return volume;
    throw new WeirError("not-found", "there is no volume of that name in this store");
  }

  #freeDevice(): number {
    const used = new Set([...this.#volumes.values()].map(({ deviceId }) => deviceId));
    let id = 0;
    while (used.has(id)) id += 1;
    return id;
  }
}

function deviceOf({ name, sizeBytes }: FakeVolume, deviceId: number): FakeDevice {
  return { volume: name, deviceId, devicePath: `/dev/ublkb${deviceId}`, sizeBytes };
}

function describe(volume: FakeVolume): AttachedVolume {
  const { name, epoch, sizeBytes, deviceId, shown } = volume;
  return {
    ...{ name, epoch, sizeBytes, uid: asVolumeUid(volume.uid), durability: "local" },
    ...{ uploadedBytes: 0, strandedJournal: undefined, fault: undefined, trouble: undefined },
    ...{ dirtyBytes: 0, dirtyAgeMs: 0, unbatchedBytes: 0, journalUsedBytes: 0 },
    ...{ journalCapacityBytes: 0, journalIndexBytes: 0, mapBytes: 0, mapExtents: 0 },
    ...{ reads: 0, writes: 0, flushes: 0, discards: 0, readBytes: 0, writtenBytes: 0 },
    ...{ fetches: 0, held: 0, ioErrors: 0, replayedRecords: 0 },
    ...{ committedEpoch: epoch, committedSeq: 0, journalEnd: 0 },
    ...shown,
    transport:
      deviceId === undefined
        ? null
        : { kind: "ublk", deviceId, devicePath: deviceOf(volume, deviceId).devicePath },
  };
}
