// The engine as TypeScript sees it: a port. The native engine (native.ts) is its one real
// implementation; a simulation brings its own. No call here happens per I/O.
import type { Epoch, Nonce, Seq, VolumeUid } from "../../core/runtime/ids.ts";
import type { LogPlace } from "../../core/log/segment-codec.ts";
import type { WeirError } from "../../core/runtime/errors.ts";

/** Bytes [offset, offset + length) of a segment: exactly one frame. */
export interface FrameWanted {
  readonly fetch: number;
  /** `volume` differs from the reader's own for what a clone got from its parent. */
  readonly segment: LogPlace;
  readonly offset: number;
  readonly length: number;
}

/** What a volume asks for while it serves. Called on the JavaScript thread, in order. */
export interface VolumeEvents {
  /** Answer with completeFetch or retryFetch. */
  onFetch(frame: FrameWanted): void;
  /** Answer with completeChunk. */
  onChunk(chunk: number): void;
  /** Data waits to be uploaded; `urgent`: now, not when it is old enough. */
  onDirty(urgent: boolean): void;
  /** The volume gave up and answers EIO. */
  onFailed(error: WeirError): void;
}

export interface JournalIdentity {
  readonly journalId: Nonce;
  readonly volume: VolumeUid;
  readonly baseEpoch: Epoch;
  readonly baseSeq: Seq;
}

export interface VolumeOpenOptions {
  readonly uid: VolumeUid;
  readonly epoch: Epoch;
  readonly journalDirectory: string;
  /** Names a journal that is made now; an existing one keeps its own. */
  readonly journalId: Nonce;
  readonly journalBytes: number;
  readonly journalFileBytes: number;
  /** Durability class `s3`: a flush ends when its segment is committed. */
  readonly flushToStore: boolean;
  readonly dirtyBytesMax: number;
  readonly batchBytes: number;
  readonly mapBytesMax: number;
  readonly zstdLevel: number;
}

/** The committed log as the attach found it. */
export interface VolumeBase {
  /** Chunk indexes in the checkpoint, ascending. */
  readonly chunks: Uint32Array;
  /** The first bytes of each segment behind the checkpoint, header and table, in log order. */
  readonly segments: readonly Uint8Array[];
  readonly committedEpoch: Epoch;
  readonly committedSeq: Seq;
  readonly sizeBytes: number;
  /** Records of the local journal that the log holds; 0 for a new journal. */
  readonly journalEnd: number;
}

export interface VolumeStats {
  readonly sizeBytes: number;
  readonly dirtyBytes: number;
  readonly dirtyAgeMs: number;
  readonly unbatchedBytes: number;
  readonly journalUsedBytes: number;
  readonly journalCapacityBytes: number;
  readonly journalIndexBytes: number;
  readonly mapBytes: number;
  readonly mapExtents: number;
  readonly reads: number;
  readonly writes: number;
  readonly flushes: number;
  readonly discards: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly fetches: number;
  readonly held: number;
  readonly ioErrors: number;
  readonly committedEpoch: number;
  readonly committedSeq: number;
  /** Number of the last record that was acknowledged, counted as a batch's `journalEnd` is. */
  readonly journalEnd: number;
  readonly replayedRecords: number;
}

export interface CacheStats {
  readonly ramHits: number;
  readonly fileHits: number;
  readonly misses: number;
  readonly ramBytes: number;
  readonly fileBytes: number;
  readonly corrupt: number;
}

export interface Batch {
  /** The whole segment object. */
  readonly bytes: Uint8Array;
  readonly rawBytes: number;
  readonly journalEnd: number;
}

export interface BatchOptions {
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly nonce: Nonce;
  readonly createdAtMs: number;
}

export interface CheckpointCapture {
  /** The position the chunks stand for. */
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly journalEnd: number;
  readonly sizeBytes: number;
  /** Not empty: load these chunks with completeChunk and capture again. */
  readonly missing: readonly number[];
  readonly chunks: readonly {
    readonly chunk: number;
    readonly empty: boolean;
    readonly bytes: Uint8Array;
  }[];
}

export interface BlockVolume {
  readonly opened: VolumeStats;
  /** null: everything is in a batch already. Batches are committed in the order they were taken. */
  takeBatch(options: BatchOptions): Promise<Batch | null>;
  commitBatch(): Promise<void>;
  /** false: the bytes do not verify; fetch again or give up with empty bytes (EIO). */
  completeFetch(fetch: number, bytes: Uint8Array): Promise<boolean>;
  /** The frame is in the clean cache by now: look again. */
  retryFetch(fetch: number): Promise<void>;
  /** As completeFetch, for a checkpoint chunk's payload. */
  completeChunk(chunk: number, payload: Uint8Array): Promise<boolean>;
  capture(): Promise<CheckpointCapture>;
  checkpointDone(chunks: Uint32Array): Promise<void>;
  /** Durable in the journal when it resolves. */
  grow(sizeBytes: number): Promise<void>;
  /** EIO for everything from now on. */
  fail(): Promise<void>;
  stats(): Promise<VolumeStats>;
  listenNbd(options: { readonly socketPath: string; readonly exportName: string }): Promise<void>;
  closeNbd(): Promise<void>;
  /**
   * Makes device `id`: /dev/ublkb<id>. `recover`: takes over the one that a former process of this
   * node left, whatever it had come to; its users go on.
   */
  startUblk(options: {
    readonly id: number;
    readonly depth: number;
    readonly recover: boolean;
  }): Promise<void>;
  /** Deletes the device. */
  stopUblk(): Promise<void>;
  /** Tells the kernel the volume's present size. */
  resizeUblk(): Promise<void>;
  /** Ends serving. What is dirty stays in the journal; a ublk device waits for its next server. */
  close(): Promise<void>;
}

export interface BlockEngine {
  /** null: there is no journal in that folder. */
  inspectJournal(directory: string): JournalIdentity | null;
  openVolume(
    options: VolumeOpenOptions,
    base: VolumeBase,
    events: VolumeEvents,
  ): Promise<BlockVolume>;
  /**
   * Ends a ublk device whose server is gone for good: its users get EIO. An absent one is fine, one
   * that is being served is refused.
   */
  abandonUblk(id: number): Promise<void>;
  /** Numbers of all ublk devices of the machine, whoever serves them. */
  ublkDevices(): Promise<readonly number[]>;
  cacheHas(segment: LogPlace, offset: number): boolean;
  cacheStats(): CacheStats;
  /** REQUIRES that every volume was closed. */
  close(): void;
}
