// A volume of the fake engine: its journal is the machine's, its map is what the journal says.
import { asEpoch, asNonce, asSeq, asVolumeUid } from "../../../core/runtime/ids.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import { encodeSegment } from "../../../core/log/segment-codec.ts";
import type {
  Batch,
  BatchOptions,
  BlockVolume,
  CheckpointCapture,
  VolumeBase,
  VolumeEvents,
  VolumeOpenOptions,
  VolumeStats,
} from "../../../csi-node/engine/block-engine.ts";
import type { DeviceServer, FakeDevice, FakeJournal, FakeMachine } from "./fake-machine.ts";
import type { FakeProcess } from "./fake-process.ts";

const BLOCK_BYTES = 4096;

export interface FakeVolumeParts {
  readonly machine: FakeMachine;
  readonly process: FakeProcess;
  readonly journal: FakeJournal;
  readonly options: VolumeOpenOptions;
  readonly base: VolumeBase;
  readonly events: VolumeEvents;
}

export class FakeVolume implements BlockVolume, DeviceServer {
  readonly process: FakeProcess;
  readonly journal: FakeJournal;
  readonly opened: VolumeStats;
  readonly #parts: FakeVolumeParts;
  readonly #blocks = new Map<number, number>();
  #applied = 0;
  #sizeBytes: number;
  #epoch: number;
  #seq: number;
  #batched: number;
  #committed: number;
  #taken: { readonly options: BatchOptions; readonly end: number }[] = [];
  #device: FakeDevice | null = null;
  #closed = false;
  /** No journal file may be recycled: what a test asserts of a calm. */
  held = false;

  constructor(parts: FakeVolumeParts) {
    this.#parts = parts;
    this.process = parts.process;
    this.journal = parts.journal;
    this.#sizeBytes = parts.base.sizeBytes;
    this.#epoch = parts.base.committedEpoch;
    this.#seq = parts.base.committedSeq;
    this.#batched = parts.base.journalEnd;
    this.#committed = parts.base.journalEnd;
    this.catchUp();
    this.opened = this.#stats();
  }

  get device(): FakeDevice | null {
    return this.#device;
  }

  get uid(): string {
    return this.#parts.options.uid;
  }

  /** The last record of the journal that the map knows. */
  catchUp(): number {
    const { records } = this.journal;
    for (const { block, value } of records.slice(this.#applied)) this.#blocks.set(block, value);
    this.#applied = records.length;
    return records.length;
  }

  serve({ block, value }: { readonly block: number; readonly value: number | null }): number {
    const { machine } = this.#parts;
    if (this.#closed) machine.violate(`a closed volume ${this.uid} served a request`);
    if (value === null) return this.#blocks.get(block) ?? 0;
    const { records, holders } = this.journal;
    if (!holders.has(this.process)) machine.violate(`wrote without the lock of ${this.uid}`);
    if (this.#applied !== records.length) machine.violate(`two writers of ${this.uid}`);
    records.push({ seq: records.length + 1, block, value });
    this.catchUp();
    this.#parts.events.onDirty(false);
    return value;
  }

  /** Serves the device from now on. */
  serveDevice(device: FakeDevice): void {
    this.#device = device;
    device.setServer(this);
  }

  /** The device is somebody else's to serve. */
  leaveDevice(): FakeDevice | null {
    const device = this.#device;
    if (device?.server === this) device.setServer(null);
    return device;
  }

  async takeBatch(options: BatchOptions): Promise<Batch | null> {
    await this.process.turn();
    const end = this.#applied;
    if (end === this.#batched) return null;
    this.#batched = end;
    this.#taken.push({ options, end });
    const { epoch, seq, nonce, createdAtMs } = options;
    const identity = {
      ...{ volume: asVolumeUid(this.uid), epoch, seq, nonce, createdAtMs, journalEnd: end },
      ...{ journalId: this.journal.journalId, volumeSizeBytes: this.#sizeBytes },
    };
    const extents = [{ kind: "zeroes", startBlock: seq, blockCount: 1 } as const];
    const bytes = encodeSegment({ identity, frames: [], extents, zstdLevel: 1 });
    return { bytes, rawBytes: BLOCK_BYTES, journalEnd: end };
  }

  async commitBatch(): Promise<void> {
    await this.process.turn();
    const batch = this.#taken.shift();
    if (batch === undefined) return;
    this.#epoch = batch.options.epoch;
    this.#seq = batch.options.seq;
    this.#committed = batch.end;
  }

  async capture(): Promise<CheckpointCapture> {
    await this.process.turn();
    const place = { epoch: asEpoch(this.#epoch), seq: asSeq(this.#seq) };
    const journalEnd = this.#committed;
    return { ...place, journalEnd, sizeBytes: this.#sizeBytes, missing: [], chunks: [] };
  }

  async stats(): Promise<VolumeStats> {
    await this.process.turn();
    return this.#stats();
  }

  async grow(sizeBytes: number): Promise<void> {
    await this.process.turn();
    this.#sizeBytes = sizeBytes;
  }

  async startUblk(options: { readonly id: number; readonly recover: boolean }): Promise<void> {
    await this.process.turn();
    const { machine } = this.#parts;
    const device = options.recover
      ? machine.devices.get(options.id)
      : machine.addDevice(options.id);
    if (device === undefined || device.server?.process.isAlive === true) {
      throw new WeirError("transport-unavailable", "the device is served by another process");
    }
    this.serveDevice(device);
  }

  async stopUblk(): Promise<void> {
    this.leaveDevice();
  }

  async close(): Promise<void> {
    await this.process.turn();
    if (this.#closed) return;
    this.leaveDevice();
    this.markClosed();
    this.journal.holders.delete(this.process);
  }

  markClosed(): void {
    this.#closed = true;
  }

  completeFetch = async (): Promise<boolean> => true;
  retryFetch = async (): Promise<void> => undefined;
  completeChunk = async (): Promise<boolean> => true;
  checkpointDone = async (): Promise<void> => undefined;
  fail = async (): Promise<void> => this.#parts.machine.violate(`volume ${this.uid} ended in EIO`);
  listenNbd = async (): Promise<void> => undefined;
  closeNbd = async (): Promise<void> => undefined;
  resizeUblk = async (): Promise<void> => undefined;

  #stats(): VolumeStats {
    const dirtyBytes = (this.#applied - this.#committed) * BLOCK_BYTES;
    return {
      ...{ sizeBytes: this.#sizeBytes, dirtyBytes, dirtyAgeMs: 0, unbatchedBytes: 0 },
      ...{ journalUsedBytes: dirtyBytes, journalCapacityBytes: 2 ** 30, journalIndexBytes: 0 },
      ...{ mapBytes: 0, mapExtents: 0, reads: 0, writes: 0, flushes: 0, discards: 0 },
      ...{ readBytes: 0, writtenBytes: 0, fetches: 0, held: 0, ioErrors: 0 },
      ...{ committedEpoch: this.#epoch, committedSeq: this.#seq, replayedRecords: 0 },
      journalEnd: this.#applied,
    };
  }
}

/** Opens the journal's folder; makes it when it is not there. */
export function journalOf(
  machine: FakeMachine,
  options: Pick<VolumeOpenOptions, "uid" | "journalId">,
  base: VolumeBase,
): FakeJournal {
  const present = machine.journals.get(options.uid);
  if (present !== undefined) return present;
  const journal: FakeJournal = {
    ...{ journalId: asNonce(options.journalId), records: [], holders: new Set() },
    ...{ baseEpoch: base.committedEpoch, baseSeq: base.committedSeq },
  };
  machine.journals.set(options.uid, journal);
  return journal;
}
