// What a rolling handoff needs of the machine: the socket between the two engines, and the engine's
// part of the window in which devices, journals and clients change hands (csi-node/handoff says
// everything else: PROTOCOL.md). The native engine is the one real implementation.
import type { BlockVolume, VolumeBase, VolumeEvents, VolumeOpenOptions } from "./block-engine.ts";

/** Larger messages are refused: a SEQPACKET message must fit the socket's buffer. */
export const HANDOFF_MESSAGE_BYTES_MAX = 64 * 1024;

export interface HandoffSocketEvents {
  onMessage(message: Uint8Array): void;
  /** The other end closed, or died; once, and not after close(). */
  onClose(): void;
}

/**
 * One end of a SEQPACKET connection between two engines of one node. While giveAll or takeAll runs,
 * the socket's messages are theirs (they never begin with `{`, ours always do); before and after
 * they come to `listen`. Messages that arrive before `listen` are kept.
 */
export interface HandoffSocket {
  /** Of the process at the other end when it connected; pid 0: of another pid namespace. */
  readonly peer: { readonly pid: number; readonly uid: number };
  listen(events: HandoffSocketEvents): void;
  /** Rejects with `engine-unavailable` when the other end is gone or does not read for 5 s. */
  send(message: Uint8Array): Promise<void>;
  /** By the pidfd that was taken at connect time, so a number used again is never meant. */
  isPeerAlive(): boolean;
  /** SIGKILL by that pidfd; resolves when the process is gone. At once when it is. */
  killPeer(): Promise<void>;
  close(): void;
}

export interface HandoffListener {
  close(): Promise<void>;
}

/** One volume's share of the window, on this side's clock. */
export interface DeviceStall {
  readonly uid: string;
  readonly transport: "nbd" | "ublk";
  /** Predecessor: from the freeze; successor: from takeAll. To the first request that it took. */
  readonly stallUs: number;
  /** Parts of it, by name, in microseconds. */
  readonly phasesUs: Readonly<Record<string, number>>;
}

/** How a volume was served: what the successor must take over. */
export type WarmTransport =
  | { readonly kind: "nbd"; readonly socketPath: string; readonly exportName: string }
  | { readonly kind: "ublk"; readonly deviceId: number; readonly depth: number };

/** A volume loaded beside the engine that serves it; nothing on disk or in the bucket changes. */
export interface WarmVolume {
  /** Reads what the other engine appended to the journal meanwhile; how far it is now. */
  catchUp(): Promise<{ readonly seq: number }>;
  /** Lets go of it. Not after it was taken. */
  discard(): Promise<void>;
}

export interface WarmVolumeOptions {
  /** `epoch` is the one the other engine writes with, `journalId` that of its journal. */
  readonly open: VolumeOpenOptions;
  readonly base: VolumeBase;
  readonly transport: WarmTransport;
  /** Called from the moment it serves, which is before takeAll resolves. */
  readonly events: VolumeEvents;
}

interface WindowOptions {
  readonly socket: HandoffSocket;
  /** The folder of owner files: `<owners>/<generation>`. */
  readonly owners: string;
  /** The generation of the predecessor; the successor's is the next. */
  readonly generation: number;
  /** What creating `<owners>/<generation + 1>` writes into it; JSON. */
  readonly identity: string;
  /** From the call and from each batch; when it is over, the side that may take everything does. */
  readonly deadlineMs: number;
}

export type GiveOutcome =
  /** The successor serves. The volumes given are closed: only close() may still be called. */
  | { readonly kind: "given"; readonly devices: readonly DeviceStall[] }
  /** This side serves as before: it created the next generation itself, or none was needed. */
  | {
      readonly kind: "kept";
      readonly reason: string;
      /** Its own by now: `generation`, or one more. */
      readonly generation: number;
      readonly devices: readonly DeviceStall[];
    }
  /**
   * The successor owns everything by its file, but it is gone or hangs. What it never had is still
   * served here; the volumes of `uids` are closed.
   */
  | { readonly kind: "lost"; readonly reason: string; readonly uids: readonly string[] };

export type TakeOutcome =
  | {
      readonly kind: "taken";
      /** In the order of `volumes`. */
      readonly volumes: readonly BlockVolume[];
      readonly devices: readonly DeviceStall[];
    }
  /** The predecessor goes on; the warm volumes were discarded. */
  | { readonly kind: "refused"; readonly reason: string };

export interface HandoffEngine {
  /** Puts the socket in its place (0600), over one that is there; only our own user gets in. */
  listenHandoff(options: {
    readonly path: string;
    readonly onConnection: (socket: HandoffSocket) => void;
  }): Promise<HandoffListener>;
  /** null: nobody listens there. */
  connectHandoff(path: string): Promise<HandoffSocket | null>;
  warmVolume(options: WarmVolumeOptions): Promise<WarmVolume>;
  /**
   * Held: no file of the volume's journal is recycled, so that a warm copy can read all of it;
   * writes wait when it is full. It is let go with `held` false, or by giveAll.
   */
  holdJournal(volume: BlockVolume, held: boolean): Promise<void>;
  /**
   * The predecessor's window. It sends nothing before takeAll's first message came. `inBatches`: a
   * few volumes at a time, each of which waits for its own batch only.
   */
  giveAll(
    options: WindowOptions & {
      readonly inBatches: boolean;
      readonly volumes: readonly { readonly uid: string; readonly volume: BlockVolume }[];
    },
  ): Promise<GiveOutcome>;
  /** The successor's window; it speaks first. */
  takeAll(
    options: WindowOptions & {
      readonly volumes: readonly { readonly uid: string; readonly volume: WarmVolume }[];
    },
  ): Promise<TakeOutcome>;
  /** Puts back the kernel setting that an engine changed for its window and died in. */
  restoreKernel(owners: string): void;
  /** Opens the file tier of the clean cache, once its former owner has let go. */
  openCacheFile(options: { readonly directory: string; readonly fileBytes: number }): Promise<void>;
}
