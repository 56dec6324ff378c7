// The facade over the native addon: the only file that loads it. Turns call numbers into promises
// and events into method calls, and errno values into faults.
import { readdir } from "node:fs/promises";
import { createRequire } from "node:module";

import { assert } from "../../core/runtime/assert.ts";
import { WeirError, type FaultCode } from "../../core/runtime/errors.ts";
import type { LogPlace } from "../../core/log/segment-codec.ts";
import type {
  BatchOptions,
  BlockEngine,
  BlockVolume,
  CacheStats,
  CheckpointCapture,
  Batch,
  FrameWanted,
  JournalIdentity,
  VolumeBase,
  VolumeEvents,
  VolumeOpenOptions,
  VolumeStats,
} from "./block-engine.ts";
import type { HandoffEngine, WarmVolumeOptions } from "./handoff-port.ts";
import {
  NativeHandoff,
  type NativeHandoffEvent,
  type NativeHandoffHandle,
} from "./native-handoff.ts";

interface NativeError {
  readonly errno: number;
  readonly what: string;
}

type NativeEvent =
  | { type: "done"; call: number; value: unknown; error?: NativeError }
  | ({ type: "fetch"; volume: number } & FrameWanted)
  | { type: "chunk"; volume: number; chunk: number }
  | { type: "dirty"; volume: number; urgent: boolean }
  | { type: "failed"; volume: number; error: NativeError }
  | NativeHandoffEvent;

/** The addon's methods; all but the first five answer with a `done` event. */
interface NativeEngineHandle extends NativeHandoffHandle {
  inspectJournal(directory: string): JournalIdentity | NativeError | null;
  cacheHas(volume: string, epoch: number, seq: number, offset: number): boolean;
  cacheStats(): CacheStats;
  close(): void;
  openVolume(call: number, volume: number, options: object, base: VolumeBase, warm: boolean): void;
  closeVolume(call: number, volume: number): void;
  takeBatch(
    call: number,
    volume: number,
    epoch: number,
    seq: number,
    nonce: string,
    createdAtMs: number,
  ): void;
  commitBatch(call: number, volume: number): void;
  completeFetch(call: number, volume: number, fetch: number, bytes: Uint8Array): void;
  retryFetch(call: number, volume: number, fetch: number): void;
  completeChunk(call: number, volume: number, chunk: number, payload: Uint8Array): void;
  capture(call: number, volume: number): void;
  checkpointDone(call: number, volume: number, chunks: Uint32Array): void;
  grow(call: number, volume: number, sizeBytes: number): void;
  fail(call: number, volume: number): void;
  stats(call: number, volume: number): void;
  abandonUblk(call: number, id: number): void;
  listenNbd(call: number, volume: number, socketPath: string, exportName: string): void;
  closeNbd(call: number, volume: number): void;
  startUblk(call: number, volume: number, id: number, depth: number, recover: boolean): void;
  stopUblk(call: number, volume: number): void;
  resizeUblk(call: number, volume: number): void;
}

interface NativeAddon {
  Engine: new (
    config: { cacheDirectory: string; ramBytes: number; fileBytes: number; uploadNice: number },
    onEvents: (events: NativeEvent[]) => void,
  ) => NativeEngineHandle;
}

export interface NativeEngineOptions {
  /** The compiled addon (`weir.node`). */
  readonly addonPath: string;
  /** Folder of the NVMe tier of the clean cache; empty for none. */
  readonly cacheDirectory: string;
  readonly cacheRamBytes: number;
  readonly cacheFileBytes: number;
  /** Added to the niceness of the thread that builds segments. */
  readonly uploadNice: number;
}

// errno values that say more than "internal"; the sentence comes from the engine.
const FAULT_BY_ERRNO: Readonly<Record<number, FaultCode>> = {
  2: "not-found", // ENOENT
  13: "transport-unavailable", // EACCES
  16: "journal-busy", // EBUSY
  18: "journal-corrupt", // EXDEV: of another volume
  19: "transport-unavailable", // ENODEV
  28: "disk-full", // ENOSPC
  74: "journal-corrupt", // EBADMSG
  95: "transport-unavailable", // ENOTSUP: not with this kernel
  107: "engine-unavailable", // ENOTCONN: the other engine of a handoff
};

function toFault(error: NativeError): WeirError {
  const code = FAULT_BY_ERRNO[error.errno] ?? (error.errno === 5 ? "journal-failed" : "internal");
  return new WeirError(code, error.what, { details: { errno: error.errno } });
}

export class NativeEngine implements BlockEngine, HandoffEngine {
  readonly #handle: NativeEngineHandle;
  readonly #calls = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (fault: WeirError) => void }
  >();
  readonly #volumes = new Map<number, VolumeEvents>();
  readonly #numbers = new WeakMap<BlockVolume, number>();
  readonly #handoff: NativeHandoff;
  #nextNumber = 1;

  constructor(options: NativeEngineOptions) {
    const addon = loadAddon(options.addonPath);
    try {
      this.#handle = new addon.Engine(
        {
          cacheDirectory: options.cacheDirectory,
          ramBytes: options.cacheRamBytes,
          fileBytes: options.cacheFileBytes,
          uploadNice: options.uploadNice,
        },
        (events) => {
          for (const event of events) this.#dispatch(event);
        },
      );
    } catch (cause) {
      throw new WeirError(
        "disk-full",
        "the clean cache cannot be opened: check its folder and the free space",
        {
          details: { directory: options.cacheDirectory },
          cause,
        },
      );
    }
    this.#handoff = new NativeHandoff({
      handle: this.#handle,
      call: (start) => this.#call(start),
      openWarm: async (warm) => (await this.#open(warm.open, warm.base, warm.events, true)).volume,
      closeVolume: (volume) => this.#closeVolume(volume),
      numberOf: (volume) => this.#numberOf(volume),
      makeVolume: async (volume) =>
        this.#makeVolume(
          volume,
          await this.#call<VolumeStats>((call) => this.#handle.stats(call, volume)),
        ),
    });
  }

  inspectJournal(directory: string): JournalIdentity | null {
    const found = this.#handle.inspectJournal(directory);
    if (found !== null && "errno" in found) throw toFault(found);
    return found;
  }

  async openVolume(
    options: VolumeOpenOptions,
    base: VolumeBase,
    events: VolumeEvents,
  ): Promise<BlockVolume> {
    const { volume, opened } = await this.#open(options, base, events, false);
    return this.#makeVolume(volume, opened);
  }

  async #open(
    options: VolumeOpenOptions,
    base: VolumeBase,
    events: VolumeEvents,
    warm: boolean,
  ): Promise<{ volume: number; opened: VolumeStats }> {
    const volume = this.#nextNumber++;
    this.#volumes.set(volume, events);
    try {
      const opened = await this.#call<VolumeStats>((call) =>
        this.#handle.openVolume(
          call,
          volume,
          { ...options, baseEpoch: base.committedEpoch, baseSeq: base.committedSeq },
          base,
          warm,
        ),
      );
      return { volume, opened };
    } catch (fault) {
      this.#volumes.delete(volume);
      await this.#closeVolume(volume).catch(() => undefined);
      throw fault;
    }
  }

  async #closeVolume(volume: number): Promise<void> {
    await this.#call<void>((call) => this.#handle.closeVolume(call, volume));
    this.#volumes.delete(volume);
  }

  listenHandoff(options: Parameters<HandoffEngine["listenHandoff"]>[0]) {
    return this.#handoff.listenHandoff(options);
  }

  connectHandoff(path: string) {
    return this.#handoff.connectHandoff(path);
  }

  warmVolume(options: WarmVolumeOptions) {
    return this.#handoff.warmVolume(options);
  }

  holdJournal(volume: BlockVolume, held: boolean) {
    return this.#handoff.holdJournal(volume, held);
  }

  giveAll(options: Parameters<HandoffEngine["giveAll"]>[0]) {
    return this.#handoff.giveAll(options);
  }

  takeAll(options: Parameters<HandoffEngine["takeAll"]>[0]) {
    return this.#handoff.takeAll(options);
  }

  restoreKernel(owners: string): void {
    this.#handoff.restoreKernel(owners);
  }

  openCacheFile(options: Parameters<HandoffEngine["openCacheFile"]>[0]) {
    return this.#handoff.openCacheFile(options);
  }

  async abandonUblk(id: number): Promise<void> {
    await this.#call<void>((call) => this.#handle.abandonUblk(call, id));
  }

  async ublkDevices(): Promise<readonly number[]> {
    const names = await readdir("/sys/class/ublk-char").catch((cause: unknown) => {
      // Without the driver there are none.
      if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return [];
      throw cause;
    });
    return names.filter((name) => name.startsWith("ublkc")).map((name) => Number(name.slice(5)));
  }

  cacheHas(segment: LogPlace, offset: number): boolean {
    return this.#handle.cacheHas(segment.volume, segment.epoch, segment.seq, offset);
  }

  cacheStats(): CacheStats {
    return this.#handle.cacheStats();
  }

  close(): void {
    assert(this.#volumes.size === 0, "every volume must be closed before its engine");
    this.#handle.close();
  }

  #makeVolume(volume: number, opened: VolumeStats): BlockVolume {
    const handle = this.#handle;
    const on = <T>(start: (call: number) => void): Promise<T> => this.#call<T>(start);
    const made: BlockVolume = {
      opened,
      takeBatch: (options: BatchOptions) =>
        on<Batch | null>((call) =>
          handle.takeBatch(
            call,
            volume,
            options.epoch,
            options.seq,
            options.nonce,
            options.createdAtMs,
          ),
        ),
      commitBatch: () => on<void>((call) => handle.commitBatch(call, volume)),
      completeFetch: (fetch, bytes) =>
        on<boolean>((call) => handle.completeFetch(call, volume, fetch, bytes)),
      retryFetch: (fetch) => on<void>((call) => handle.retryFetch(call, volume, fetch)),
      completeChunk: (chunk, payload) =>
        on<boolean>((call) => handle.completeChunk(call, volume, chunk, payload)),
      capture: () => on<CheckpointCapture>((call) => handle.capture(call, volume)),
      checkpointDone: (chunks) => on<void>((call) => handle.checkpointDone(call, volume, chunks)),
      grow: (sizeBytes) => on<void>((call) => handle.grow(call, volume, sizeBytes)),
      fail: () => on<void>((call) => handle.fail(call, volume)),
      stats: () => on<VolumeStats>((call) => handle.stats(call, volume)),
      listenNbd: (options) =>
        on<void>((call) => handle.listenNbd(call, volume, options.socketPath, options.exportName)),
      closeNbd: () => on<void>((call) => handle.closeNbd(call, volume)),
      startUblk: (options) =>
        on<void>((call) =>
          handle.startUblk(call, volume, options.id, options.depth, options.recover),
        ),
      stopUblk: () => on<void>((call) => handle.stopUblk(call, volume)),
      resizeUblk: () => on<void>((call) => handle.resizeUblk(call, volume)),
      close: () => this.#closeVolume(volume),
    };
    this.#numbers.set(made, volume);
    return made;
  }

  #numberOf(volume: BlockVolume): number {
    const number = this.#numbers.get(volume);
    assert(number !== undefined, "a volume that is handed over is one of this engine's");
    return number;
  }

  #call<T>(start: (call: number) => void): Promise<T> {
    const call = this.#nextNumber++;
    return new Promise<T>((resolve, reject) => {
      this.#calls.set(call, { resolve: (value) => resolve(value as T), reject });
      start(call);
    });
  }

  #dispatch(event: NativeEvent): void {
    if (event.type === "done") {
      const waiting = this.#calls.get(event.call);
      assert(waiting !== undefined, "the engine answers every call once");
      this.#calls.delete(event.call);
      if (event.error === undefined) waiting.resolve(event.value);
      else waiting.reject(toFault(event.error));
      return;
    }
    if (!("volume" in event)) return this.#handoff.dispatch(event);
    const volume = this.#volumes.get(event.volume);
    if (volume === undefined) return; // Closed meanwhile.
    switch (event.type) {
      case "fetch":
        return volume.onFetch(event);
      case "chunk":
        return volume.onChunk(event.chunk);
      case "dirty":
        return volume.onDirty(event.urgent);
      case "failed":
        return volume.onFailed(toFault(event.error));
    }
  }
}

function loadAddon(path: string): NativeAddon {
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (cause) {
    throw new WeirError("internal", "the native engine cannot be loaded: run `npm run build`", {
      details: { path },
      cause,
    });
  }
}
