// The engine of tests with both halves of the window, as PROTOCOL.md says the native one does it:
// the order of its steps is the real one, what they touch is the machine's bookkeeping. Each step
// is told by name, so that a test can let something happen exactly there.
import { basename } from "node:path";

import { WeirError } from "../../../core/runtime/errors.ts";
import { asEpoch, asSeq, asVolumeUid } from "../../../core/runtime/ids.ts";
import type {
  BlockEngine,
  BlockVolume,
  CacheStats,
  JournalIdentity,
  VolumeBase,
  VolumeEvents,
  VolumeOpenOptions,
} from "../../../csi-node/engine/block-engine.ts";
import type {
  GiveOutcome,
  HandoffEngine,
  HandoffListener,
  HandoffSocket,
  TakeOutcome,
  WarmVolume,
  WarmVolumeOptions,
} from "../../../csi-node/engine/handoff-port.ts";
import { Owners } from "../../../csi-node/handoff/owners.ts";
import type { FakeMachine } from "./fake-machine.ts";
import type { FakeProcess } from "./fake-process.ts";
import { FakeSocket, type FakeSockets } from "./fake-sockets.ts";
import { FakeVolume, journalOf } from "./fake-volume.ts";
import { Window, type WindowWord } from "./fake-window.ts";

type GiveOptions = Parameters<HandoffEngine["giveAll"]>[0];
type TakeOptions = Parameters<HandoffEngine["takeAll"]>[0];

const NO_CACHE: CacheStats = {
  ...{ ramHits: 0, fileHits: 0, misses: 0, ramBytes: 0, fileBytes: 0, corrupt: 0 },
};

interface FakeWarm extends WarmVolume {
  readonly volume: FakeVolume;
  readonly deviceId: number;
}

export class FakeNativeEngine implements BlockEngine, HandoffEngine {
  readonly #machine: FakeMachine;
  readonly #process: FakeProcess;
  readonly #sockets: FakeSockets;
  readonly #onStep: (name: string) => void;
  readonly #volumes = new Set<FakeVolume>();
  readonly #warm = new Map<WarmVolume, FakeWarm>();

  constructor(options: {
    readonly machine: FakeMachine;
    readonly process: FakeProcess;
    readonly sockets: FakeSockets;
    readonly onStep: (name: string) => void;
  }) {
    this.#machine = options.machine;
    this.#process = options.process;
    this.#sockets = options.sockets;
    this.#onStep = options.onStep;
  }

  get volumes(): readonly FakeVolume[] {
    return [...this.#volumes];
  }

  inspectJournal(directory: string): JournalIdentity | null {
    const uid = basename(directory);
    const journal = this.#machine.journals.get(uid);
    if (journal === undefined) return null;
    const { journalId, baseEpoch, baseSeq } = journal;
    const base = { baseEpoch: asEpoch(baseEpoch), baseSeq: asSeq(baseSeq) };
    return { journalId, volume: asVolumeUid(uid), ...base };
  }

  async openVolume(
    options: VolumeOpenOptions,
    base: VolumeBase,
    events: VolumeEvents,
  ): Promise<BlockVolume> {
    await this.#process.turn();
    const journal = journalOf(this.#machine, options, base);
    if ([...journal.holders].some((holder) => holder.isAlive)) {
      throw new WeirError("journal-busy", "another process has the journal");
    }
    journal.holders.add(this.#process);
    const parts = { machine: this.#machine, process: this.#process, journal };
    const volume = new FakeVolume({ ...parts, options, base, events });
    this.#volumes.add(volume);
    return volume;
  }

  ublkDevices = async (): Promise<readonly number[]> => [...this.#machine.devices.keys()];
  abandonUblk = async (): Promise<void> => undefined;
  cacheHas = (): boolean => false;
  cacheStats = (): CacheStats => NO_CACHE;
  restoreKernel = (): void => undefined;
  openCacheFile = async (): Promise<void> => undefined;

  close(): void {
    this.#volumes.clear();
  }

  async listenHandoff(options: {
    readonly path: string;
    readonly onConnection: (socket: HandoffSocket) => void;
  }): Promise<HandoffListener> {
    return this.#sockets.listen(this.#process, options);
  }

  async connectHandoff(path: string): Promise<HandoffSocket | null> {
    await this.#process.turn();
    return this.#sockets.connect(this.#process, path);
  }

  async warmVolume(options: WarmVolumeOptions): Promise<WarmVolume> {
    await this.#process.turn();
    const { open, base, events, transport } = options;
    const journal = this.#machine.journals.get(open.uid);
    if (journal === undefined) throw new WeirError("not-found", "there is no journal");
    const parts = { machine: this.#machine, process: this.#process, journal };
    const volume = new FakeVolume({ ...parts, options: open, base, events });
    const warm: FakeWarm = {
      volume,
      deviceId: transport.kind === "ublk" ? transport.deviceId : -1,
      catchUp: async () => {
        await this.#process.turn();
        return { seq: volume.catchUp() };
      },
      discard: async () => void this.#warm.delete(warm),
    };
    this.#warm.set(warm, warm);
    return warm;
  }

  async holdJournal(volume: BlockVolume, held: boolean): Promise<void> {
    await this.#process.turn();
    for (const own of this.#volumes) if (own === volume) own.held = held;
  }

  async giveAll(options: GiveOptions): Promise<GiveOutcome> {
    const volumes = [...this.#volumes].filter((own) =>
      options.volumes.some(({ volume }) => volume === own),
    );
    const window = this.#open(options);
    const began = await window.next(["began"]);
    if (began === null) return this.#keep({ ...options, window }, volumes, "nobody began");
    this.#onStep("give-began");
    for (const { device } of volumes) device?.freeze();
    await this.#drained(volumes);
    this.#onStep("give-frozen");
    const seqs = Object.fromEntries(
      volumes.map(({ uid, journal }) => [uid, journal.records.length]),
    );
    for (const volume of volumes) volume.leaveDevice();
    await this.#process.turn();
    this.#onStep("give-released");
    const passed = volumes.map(({ journal }) => journal);
    const sent = await window.say({ word: "handed", seqs, journals: passed });
    this.#onStep("give-handed");
    const served = sent ? await window.next(["served", "refused"]) : null;
    if (served?.word !== "served") return this.#keep({ ...options, window }, volumes, "it failed");
    for (const volume of volumes) {
      volume.markClosed();
      volume.journal.holders.delete(this.#process);
    }
    window.close();
    this.#onStep("give-ended");
    return { kind: "given", devices: stallsOf(volumes) };
  }

  /** Takes everything back, if no other process owns it by now. */
  async #keep(
    options: GiveOptions & { readonly window: Window },
    volumes: readonly FakeVolume[],
    reason: string,
  ): Promise<GiveOutcome> {
    const generation = options.generation + 1;
    const won = await this.#process.ask(() => ownersOf(options).claim(generation));
    options.window.close();
    if (!won) {
      for (const volume of volumes) {
        volume.markClosed();
        volume.journal.holders.delete(this.#process);
      }
      return { kind: "lost", reason };
    }
    for (const volume of volumes) {
      const { device } = volume;
      if (device?.server === volume) device.thaw();
      else if (device !== null) volume.serveDevice(device);
    }
    return { kind: "kept", reason, generation, devices: stallsOf(volumes) };
  }

  async #drained(volumes: readonly FakeVolume[]): Promise<void> {
    while (!volumes.every(({ device }) => device?.isIdle ?? true)) {
      await this.#process.clock.sleep(1);
    }
  }

  async takeAll(options: TakeOptions): Promise<TakeOutcome> {
    const window = this.#open(options);
    const warm = options.volumes.flatMap(({ volume }) => this.#warm.get(volume) ?? []);
    await this.#process.turn();
    this.#onStep("take-began");
    await window.say({ word: "began" });
    const handed = await window.next(["handed"]);
    if (handed?.word !== "handed") return this.#refuse(window, "nothing was handed over");
    for (const journal of handed.journals) journal.holders.add(this.#process);
    this.#onStep("take-handed");
    await this.#process.turn();
    const behind = warm.find(({ volume }) => volume.catchUp() !== handed.seqs[volume.uid]);
    if (behind !== undefined || this.#machine.diskFull) {
      return this.#refuse(window, "the journal could not be followed to its end", handed);
    }
    this.#onStep("take-caught-up");
    const { generation } = options;
    const won = await this.#process.ask(() => ownersOf(options).claim(generation + 1));
    if (!won) return this.#refuse(window, "the predecessor took its volumes back", handed);
    this.#onStep("take-created");
    await this.#process.turn();
    for (const { volume, deviceId } of warm) {
      this.#volumes.add(volume);
      const device = this.#machine.devices.get(deviceId);
      if (device !== undefined) volume.serveDevice(device);
    }
    this.#onStep("take-serving");
    await window.say({ word: "served" });
    window.close();
    this.#onStep("take-ended");
    const volumes = warm.map(({ volume }) => volume);
    return { kind: "taken", volumes, devices: stallsOf(volumes) };
  }

  async #refuse(
    window: Window,
    reason: string,
    handed?: Extract<WindowWord, { word: "handed" }>,
  ): Promise<TakeOutcome> {
    for (const journal of handed?.journals ?? []) journal.holders.delete(this.#process);
    this.#warm.clear();
    await window.say({ word: "refused" });
    window.close();
    return { kind: "refused", reason };
  }

  #open(options: { readonly socket: HandoffSocket; readonly deadlineMs: number }): Window {
    const { socket, deadlineMs } = options;
    if (!(socket instanceof FakeSocket)) throw new WeirError("internal", "not a fake socket");
    return new Window({ socket, deadlineMs, process: this.#process });
  }
}

function ownersOf(options: { readonly owners: string; readonly identity: string }): Owners {
  return new Owners({ directory: options.owners, identity: JSON.parse(options.identity) });
}

function stallsOf(volumes: readonly FakeVolume[]) {
  return volumes.map(({ uid }) => ({
    ...{ uid, transport: "ublk" as const, stallUs: 1_000, phasesUs: { freeze: 400 } },
  }));
}
