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

type Handed = Extract<WindowWord, { word: "handed" }>;

interface Giving {
  readonly options: GiveOptions;
  readonly window: Window;
  readonly volumes: readonly FakeVolume[];
  readonly passed: Set<FakeVolume>;
}

interface Taking {
  readonly options: TakeOptions;
  readonly window: Window;
  readonly warm: readonly FakeWarm[];
  claimed: boolean;
}

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
    const giving = { options, window, volumes, passed: new Set<FakeVolume>() };
    const began = await window.next(["began"]);
    if (began === null) return this.#keep(giving, "nobody began");
    this.#onStep("give-began");
    for (const [index, batch] of batchesOf(volumes, options.inBatches).entries()) {
      const sent = await this.#giveBatch(giving, { batch, number: index + 1 });
      const answer = sent ? await window.next(["served", "refused"]) : null;
      if (answer?.word !== "served") return this.#keep(giving, "it failed");
      window.renew();
    }
    this.#letGo(volumes);
    window.close();
    this.#onStep("give-ended");
    return { kind: "given", devices: stallsOf(volumes) };
  }

  /** Whether the successor has heard of it. */
  async #giveBatch(
    { window, passed }: Giving,
    { batch, number }: { readonly batch: readonly FakeVolume[]; readonly number: number },
  ): Promise<boolean> {
    for (const { device } of batch) device?.freeze();
    await this.#drained(batch);
    this.#onStep(`give-frozen ${number}`);
    const seqs = Object.fromEntries(batch.map(({ uid, journal }) => [uid, journal.records.length]));
    for (const volume of batch) volume.leaveDevice();
    await this.#process.turn();
    this.#onStep(`give-released ${number}`);
    for (const volume of batch) passed.add(volume);
    const journals = batch.map(({ journal }) => journal);
    const sent = await window.say({ word: "handed", seqs, journals });
    this.#onStep(`give-handed ${number}`);
    return sent;
  }

  /** Takes everything back, if no other process owns it by now; else what was not passed. */
  async #keep(giving: Giving, reason: string): Promise<GiveOutcome> {
    const { options, window, volumes, passed } = giving;
    const generation = options.generation + 1;
    const won = await this.#process.ask(() => ownersOf(options).claim(generation));
    window.close();
    const lost = won ? [] : volumes.filter((volume) => passed.has(volume));
    this.#letGo(lost);
    for (const volume of volumes.filter((one) => !lost.includes(one))) {
      const { device } = volume;
      if (device?.server === volume) device.thaw();
      else if (device !== null) volume.serveDevice(device);
    }
    if (!won) return { kind: "lost", reason, uids: lost.map(({ uid }) => uid) };
    return { kind: "kept", reason, generation, devices: stallsOf(volumes) };
  }

  #letGo(volumes: readonly FakeVolume[]): void {
    for (const volume of volumes) {
      volume.markClosed();
      volume.journal.holders.delete(this.#process);
    }
  }

  async #drained(volumes: readonly FakeVolume[]): Promise<void> {
    while (!volumes.every(({ device }) => device?.isIdle ?? true)) {
      await this.#process.clock.sleep(1);
    }
  }

  async takeAll(options: TakeOptions): Promise<TakeOutcome> {
    const window = this.#open(options);
    const warm = options.volumes.flatMap(({ volume }) => this.#warm.get(volume) ?? []);
    const taking = { options, window, warm, claimed: false };
    await this.#process.turn();
    this.#onStep("take-began");
    await window.say({ word: "began" });
    let served = 0;
    for (let number = 1; number === 1 || served < warm.length; number += 1) {
      const handed = await window.next(["handed"]);
      if (handed?.word !== "handed") return this.#refuse(taking, "nothing was handed over");
      const fault = await this.#takeBatch(taking, { handed, number });
      if (fault !== undefined) return this.#refuse(taking, fault, handed);
      served += handed.journals.length;
      window.renew();
    }
    window.close();
    this.#onStep("take-ended");
    const volumes = warm.map(({ volume }) => volume);
    return { kind: "taken", volumes, devices: stallsOf(volumes) };
  }

  /** Why it could not; the first one claims the next generation. */
  async #takeBatch(
    taking: Taking,
    { handed, number }: { readonly handed: Handed; readonly number: number },
  ): Promise<string | undefined> {
    const { options, window } = taking;
    for (const journal of handed.journals) journal.holders.add(this.#process);
    this.#onStep(`take-handed ${number}`);
    await this.#process.turn();
    const batch = taking.warm.filter(({ volume }) => Object.hasOwn(handed.seqs, volume.uid));
    const behind = batch.find(({ volume }) => volume.catchUp() !== handed.seqs[volume.uid]);
    if (behind !== undefined || this.#machine.diskFull) {
      return "the journal could not be followed to its end";
    }
    this.#onStep(`take-caught-up ${number}`);
    if (!taking.claimed) {
      const claim = (): Promise<boolean> => ownersOf(options).claim(options.generation + 1);
      taking.claimed = await this.#process.ask(claim);
      if (!taking.claimed) return "the predecessor took its volumes back";
      this.#onStep("take-created");
      await this.#process.turn();
    }
    for (const { volume, deviceId } of batch) {
      this.#volumes.add(volume);
      const device = this.#machine.devices.get(deviceId);
      if (device !== undefined) volume.serveDevice(device);
    }
    this.#onStep(`take-serving ${number}`);
    await window.say({ word: "served" });
    return undefined;
  }

  /** Once it has claimed there is no way back but the end of the process. */
  async #refuse(
    { window, claimed }: Taking,
    reason: string,
    handed?: Handed,
  ): Promise<TakeOutcome> {
    if (claimed) throw new WeirError("internal", reason);
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

/** One after the other, or all of them; at least one, which may be empty. */
function batchesOf(
  volumes: readonly FakeVolume[],
  inBatches: boolean,
): readonly (readonly FakeVolume[])[] {
  return inBatches && volumes.length > 0 ? volumes.map((volume) => [volume]) : [volumes];
}

function ownersOf(options: { readonly owners: string; readonly identity: string }): Owners {
  return new Owners({ directory: options.owners, identity: JSON.parse(options.identity) });
}

function stallsOf(volumes: readonly FakeVolume[]) {
  return volumes.map(({ uid }) => ({
    ...{ uid, transport: "ublk" as const, stallUs: 1_000, phasesUs: { freeze: 400 } },
  }));
}
