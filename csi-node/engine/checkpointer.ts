// Writes checkpoints of one volume's stable map and serves its chunks back on demand.
//
// Relies on: I5 (a checkpoint is written from a captured committed position and names only objects
// that exist). Failure: a checkpoint that cannot be written is noted and tried again after the next
// segments; nothing is lost by it, the next attach only reads more segment headers.
import { readChunk, writeCheckpoint } from "../../core/log/checkpoints.ts";
import type { CheckpointPlace, CheckpointRoot } from "../../core/log/checkpoint-codec.ts";
import type { Committed } from "../../core/log/open-log.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import {
  comparePositions,
  type Nonce,
  type Position,
  type VolumeUid,
} from "../../core/runtime/ids.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import type { BlockVolume, CheckpointCapture } from "./block-engine.ts";

export interface CheckpointerOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly volume: Pick<BlockVolume, "capture" | "checkpointDone" | "completeChunk">;
  readonly uid: VolumeUid;
  /** The journal that this session's segments come from. */
  readonly journalId: Nonce;
  /** Where the log stood when the session began. */
  readonly committed: Committed;
  /** The newest checkpoint, or the parent's for a clone that has none of its own. */
  readonly root: CheckpointRoot | null;
  readonly everySegments: number;
  /** Segments behind that checkpoint already. */
  readonly segmentsBehind: number;
  readonly readDeadlineMs: number;
  readonly signal: AbortSignal;
  readonly onTrouble: (fault: WeirError) => void;
}

export interface WrittenCheckpoint {
  readonly position: Position;
  readonly checkpoint: CheckpointPlace;
  readonly sizeBytes: number;
}

const NOTHING = new Uint8Array(0);
const RETRY_FIRST_MS = 50;
const RETRY_LAST_MS = 2_000;

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #root: CheckpointRoot | null;
  #segmentsBehind: number;
  #writing: Promise<unknown> | undefined;
  /** The last write's end: between its capture and checkpointDone no other may capture. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    this.#root = options.root;
    this.#segmentsBehind = options.segmentsBehind;
  }

  /** After each committed segment: begins a checkpoint in the background when one is due. */
  noteCommit(): void {
    this.#segmentsBehind += 1;
    if (this.#segmentsBehind < this.#options.everySegments || this.#writing !== undefined) return;
    const writing = this.write({ signal: this.#options.signal })
      .catch((cause: unknown) => {
        if (!this.#options.signal.aborted) this.#options.onTrouble(asFault(cause));
      })
      .finally(() => {
        this.#writing = undefined;
      });
    this.#writing = writing;
  }

  /**
   * A checkpoint of the committed position as it is now, or the present one if it stands there
   * already; undefined while the volume has not committed anything of its own.
   */
  write(options: { signal: AbortSignal }): Promise<WrittenCheckpoint | undefined> {
    const written = this.#turn.then(() => this.#writeNow(options));
    this.#turn = written.catch(() => undefined);
    return written;
  }

  async #writeNow(options: { signal: AbortSignal }): Promise<WrittenCheckpoint | undefined> {
    const { volume, uid } = this.#options;
    const capture = await this.#capture(options.signal);
    if (capture.seq === 0) return undefined;
    const present = this.#root?.header;
    const position = { epoch: capture.epoch, seq: capture.seq };
    if (
      present !== undefined &&
      present.volume === uid &&
      present.epoch === position.epoch &&
      present.seq === position.seq
    ) {
      return {
        position,
        checkpoint: { volume: uid, ...position },
        sizeBytes: present.volumeSizeBytes,
      };
    }
    const root = await writeCheckpoint({
      ...pick(this.#options),
      signal: options.signal,
      volume: uid,
      position,
      ...this.#journalAt(capture),
      volumeSizeBytes: capture.sizeBytes,
      previous: this.#root,
      changed: capture.chunks.map((chunk) => ({
        chunk: chunk.chunk,
        payload: chunk.empty ? null : chunk.bytes,
      })),
    });
    this.#root = root;
    this.#segmentsBehind = 0;
    await volume.checkpointDone(Uint32Array.from(capture.chunks, (chunk) => chunk.chunk));
    return { position, checkpoint: { volume: uid, ...position }, sizeBytes: capture.sizeBytes };
  }

  /** The engine asked for a chunk that a read needs. */
  async serveChunk(chunk: number): Promise<void> {
    using signal = this.#options.clock.deadline(this.#options.readDeadlineMs, this.#options.signal);
    try {
      await this.#load(chunk, signal);
    } catch (cause) {
      this.#options.onTrouble(asFault(cause));
      await this.#options.volume.completeChunk(chunk, NOTHING);
    }
  }

  /** Resolves when no checkpoint is being written in the background. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  /** Captures once every changed chunk has its base loaded. */
  async #capture(signal: AbortSignal): Promise<CheckpointCapture> {
    for (;;) {
      const capture = await this.#options.volume.capture();
      if (capture.missing.length === 0) return capture;
      for (const chunk of capture.missing) await this.#load(chunk, signal);
    }
  }

  /**
   * The journal of the segment at that position: this session's, unless nothing was committed
   * since.
   */
  #journalAt(capture: CheckpointCapture): { journalId: Nonce; journalEnd: number } {
    const { committed, journalId } = this.#options;
    const before = comparePositions(capture, committed.position) === 0;
    if (!before || committed.journalId === null)
      return { journalId, journalEnd: capture.journalEnd };
    return { journalId: committed.journalId, journalEnd: committed.journalEnd };
  }

  async #load(chunk: number, signal: AbortSignal): Promise<void> {
    const { store, clock, random, volume } = this.#options;
    for (let pauseMs = RETRY_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, RETRY_LAST_MS)) {
      try {
        const root = this.#root;
        if (root === null)
          throw new WeirError("internal", "a chunk was asked for without a checkpoint");
        const payload = await readChunk({ store, clock, random, signal, root, chunk });
        // A newer checkpoint may hold a newer version of the chunk, which must not be hidden by
        // this one.
        if (root !== this.#root) continue;
        if (await volume.completeChunk(chunk, payload)) return;
        throw new WeirError(
          "object-corrupt",
          "a checkpoint in the bucket is damaged: restore the object from a copy",
          {
            details: { chunk },
          },
        );
      } catch (cause) {
        const retry =
          cause instanceof WeirError && cause.code === "store-unavailable" && !signal.aborted;
        if (!retry) throw cause;
        await clock.sleep(pauseMs * (0.5 + random.fraction() / 2), signal);
      }
    }
  }
}

function pick(options: CheckpointerOptions): { store: ObjectStore; clock: Clock; random: Random } {
  return { store: options.store, clock: options.clock, random: options.random };
}

function asFault(cause: unknown): WeirError {
  if (cause instanceof WeirError) return cause;
  return new WeirError("internal", "a checkpoint task failed unexpectedly", { cause });
}
