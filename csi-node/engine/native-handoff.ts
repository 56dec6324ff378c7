// The handoff's part of the native engine's facade: numbers of sockets and volumes become objects.
import { assert } from "../../core/runtime/assert.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { BlockVolume } from "./block-engine.ts";
import type {
  DeviceStall,
  GiveOutcome,
  HandoffEngine,
  HandoffListener,
  HandoffSocket,
  HandoffSocketEvents,
  TakeOutcome,
  WarmVolume,
  WarmVolumeOptions,
} from "./handoff-port.ts";

interface NativePeer {
  readonly socket: number;
  readonly pid: number;
  readonly uid: number;
}

/** The addon's methods; those with a call number answer with a `done` event. */
export interface NativeHandoffHandle {
  listenHandoff(call: number, path: string): void;
  closeHandoffListener(call: number, listener: number): void;
  connectHandoff(call: number, path: string): void;
  readHandoff(socket: number): void;
  sendHandoff(call: number, socket: number, message: Uint8Array): void;
  handoffPeerAlive(socket: number): boolean;
  killHandoffPeer(call: number, socket: number): void;
  closeHandoff(call: number, socket: number): void;
  holdJournal(call: number, volume: number, held: boolean): void;
  catchUp(call: number, volume: number): void;
  giveAll(call: number, socket: number, options: object, volumes: readonly object[]): void;
  takeAll(call: number, socket: number, options: object, volumes: readonly object[]): void;
  restoreKernel(owners: string): void;
  openCacheFile(call: number, directory: string, fileBytes: number): void;
}

export type NativeHandoffEvent =
  | ({ type: "handoffConnection"; listener: number } & NativePeer)
  | { type: "handoffMessage"; socket: number; bytes: Uint8Array }
  | { type: "handoffClosed"; socket: number };

interface NativeHandoffOptions {
  readonly handle: NativeHandoffHandle;
  readonly call: <T>(start: (call: number) => void) => Promise<T>;
  /** Opens a warm volume; its number. */
  readonly openWarm: (options: WarmVolumeOptions) => Promise<number>;
  readonly closeVolume: (volume: number) => Promise<void>;
  readonly numberOf: (volume: BlockVolume) => number;
  /** A volume that serves by now. */
  readonly makeVolume: (volume: number) => Promise<BlockVolume>;
}

type WindowOptions = Parameters<HandoffEngine["giveAll"]>[0];

interface NativeGiven {
  readonly kind: "given" | "kept" | "lost";
  readonly reason: string;
  readonly generation: number;
  readonly devices: readonly DeviceStall[];
  readonly lost: readonly string[];
}

interface NativeTaken {
  readonly kind: "taken" | "refused" | "broken";
  readonly reason: string;
  readonly devices: readonly DeviceStall[];
}

export class NativeHandoff implements HandoffEngine {
  readonly #options: NativeHandoffOptions;
  readonly #listeners = new Map<number, (socket: HandoffSocket) => void>();
  readonly #sockets = new Map<number, HandoffSocketEvents>();
  readonly #numbers = new WeakMap<HandoffSocket, number>();
  readonly #warm = new WeakMap<WarmVolume, { number: number; options: WarmVolumeOptions }>();

  constructor(options: NativeHandoffOptions) {
    this.#options = options;
  }

  dispatch(event: NativeHandoffEvent): void {
    switch (event.type) {
      case "handoffConnection": {
        const socket = this.#makeSocket(event);
        const onConnection = this.#listeners.get(event.listener);
        if (onConnection === undefined) socket.close();
        else onConnection(socket);
        return;
      }
      case "handoffMessage":
        this.#sockets.get(event.socket)?.onMessage(event.bytes);
        return;
      case "handoffClosed":
        this.#sockets.get(event.socket)?.onClose();
    }
  }

  async listenHandoff(options: {
    readonly path: string;
    readonly onConnection: (socket: HandoffSocket) => void;
  }): Promise<HandoffListener> {
    const { handle, call } = this.#options;
    const listener = await call<number>((number) => handle.listenHandoff(number, options.path));
    this.#listeners.set(listener, options.onConnection);
    return {
      close: async () => {
        this.#listeners.delete(listener);
        await call<void>((number) => handle.closeHandoffListener(number, listener));
      },
    };
  }

  async connectHandoff(path: string): Promise<HandoffSocket | null> {
    const { handle, call } = this.#options;
    const peer = await call<NativePeer | null>((number) => handle.connectHandoff(number, path));
    return peer === null ? null : this.#makeSocket(peer);
  }

  async warmVolume(options: WarmVolumeOptions): Promise<WarmVolume> {
    const { handle, call, openWarm, closeVolume } = this.#options;
    const number = await openWarm(options);
    const volume: WarmVolume = {
      catchUp: async () => ({ seq: await call<number>((at) => handle.catchUp(at, number)) }),
      discard: () => closeVolume(number),
    };
    this.#warm.set(volume, { number, options });
    return volume;
  }

  async holdJournal(volume: BlockVolume, held: boolean): Promise<void> {
    const { handle, call, numberOf } = this.#options;
    await call<void>((number) => handle.holdJournal(number, numberOf(volume), held));
  }

  async giveAll(options: WindowOptions): Promise<GiveOutcome> {
    const { handle, call, numberOf } = this.#options;
    const volumes = options.volumes.map(({ uid, volume }) => ({ uid, volume: numberOf(volume) }));
    const window = { ...windowOf(options), inBatches: options.inBatches };
    const outcome = await call<NativeGiven>((number) =>
      handle.giveAll(number, this.#numberOf(options.socket), window, volumes),
    );
    const { reason, generation, devices, lost } = outcome;
    if (outcome.kind === "given") return { kind: "given", devices };
    if (outcome.kind === "lost") return { kind: "lost", reason, uids: lost };
    return { kind: "kept", reason, generation, devices };
  }

  async takeAll(options: Parameters<HandoffEngine["takeAll"]>[0]): Promise<TakeOutcome> {
    const { handle, call, closeVolume, makeVolume } = this.#options;
    const warm = options.volumes.map(({ uid, volume }) => {
      const known = this.#warm.get(volume);
      assert(known !== undefined, "a volume that is taken was opened warm");
      const { transport } = known.options;
      const nbd = transport.kind === "nbd" ? transport : { socketPath: "", exportName: "" };
      return {
        uid,
        volume: known.number,
        ublk: transport.kind === "ublk",
        socketPath: nbd.socketPath,
        exportName: nbd.exportName,
      };
    });
    const outcome = await call<NativeTaken>((number) =>
      handle.takeAll(number, this.#numberOf(options.socket), windowOf(options), warm),
    );
    if (outcome.kind === "taken") {
      const volumes = await Promise.all(warm.map(({ volume }) => makeVolume(volume)));
      return { kind: "taken", volumes, devices: outcome.devices };
    }
    // It owns everything and cannot serve all of it: only the end of this process helps.
    if (outcome.kind === "broken") throw new WeirError("internal", outcome.reason);
    await Promise.all(warm.map(({ volume }) => closeVolume(volume)));
    return { kind: "refused", reason: outcome.reason };
  }

  restoreKernel(owners: string): void {
    this.#options.handle.restoreKernel(owners);
  }

  async openCacheFile(options: {
    readonly directory: string;
    readonly fileBytes: number;
  }): Promise<void> {
    const { handle, call } = this.#options;
    await call<void>((number) =>
      handle.openCacheFile(number, options.directory, options.fileBytes),
    );
  }

  #makeSocket(peer: NativePeer): HandoffSocket {
    const { handle, call } = this.#options;
    const number = peer.socket;
    const socket: HandoffSocket = {
      peer: { pid: peer.pid, uid: peer.uid },
      listen: (events) => {
        this.#sockets.set(number, events);
        handle.readHandoff(number);
      },
      send: (message) => call<void>((at) => handle.sendHandoff(at, number, message)),
      isPeerAlive: () => handle.handoffPeerAlive(number),
      killPeer: () => call<void>((at) => handle.killHandoffPeer(at, number)),
      close: () => {
        this.#sockets.delete(number);
        void call<void>((at) => handle.closeHandoff(at, number));
      },
    };
    this.#numbers.set(socket, number);
    return socket;
  }

  #numberOf(socket: HandoffSocket): number {
    const number = this.#numbers.get(socket);
    assert(number !== undefined, "the window's socket is one of this engine's");
    return number;
  }
}

function windowOf(options: Omit<WindowOptions, "volumes" | "inBatches">): object {
  const { owners, generation, identity, deadlineMs } = options;
  return { owners, generation, identity, deadlineMs };
}
