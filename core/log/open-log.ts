// Attaching: find the newest checkpoint, claim an epoch, end all older ones, and hand out what is
// behind the checkpoint. Afterwards nobody but the new epoch's writer can commit, and the result is
// exact.
//
// Requests: GET volume.json, LIST epochs, LIST checkpoints, GET the checkpoint's root, PUT the
// epoch, LIST the log, one GET for each object behind the checkpoint, PUT a SEAL, LIST checkpoints:
// eight, plus one per segment; one more for a root larger than 4 MiB.
//
// Crash at any point: an epoch that nobody uses, perhaps SEALs in older ones. The next opening sees
// to it.

import { WeirError } from "../runtime/errors.ts";
import { asEpoch, asSeq, comparePositions } from "../runtime/ids.ts";
import type { Epoch, Nonce, Position, VolumeUid } from "../runtime/ids.ts";
import { naming } from "./byte-fields.ts";
import type { CheckpointPlace, CheckpointRoot } from "./checkpoint-codec.ts";
import { findCheckpoint, readCheckpointRoot } from "./checkpoints.ts";
import type { LogContext } from "./context.ts";
import { getWhole } from "./context.ts";
import { claimEpoch, findNewestEpoch, refuseForeignEpoch } from "./epochs.ts";
import { volumeKey } from "./keys.ts";
import type { VolumeRecord } from "./records.ts";
import { decodeVolumeRecord } from "./records.ts";
import type { LogSegment } from "./sealing.ts";
import { readCommitted, sealOlderEpochs } from "./sealing.ts";

/**
 * Checkpoints that may appear while one opening runs; each makes it begin again behind the new one.
 */
const RESTARTS_MAX = 8;
const BEFORE_THE_FIRST: Position = { epoch: asEpoch(0), seq: asSeq(0) };

/** How far the log is committed, and what that says about the journal and the volume. */
export interface Committed {
  readonly position: Position;
  /** The journal that the newest segment came from; null when this volume has no segment yet. */
  readonly journalId: Nonce | null;
  /** Records of that journal up to and including this number are in the log. */
  readonly journalEnd: number;
  readonly volumeSizeBytes: number;
}

export interface LogView {
  readonly volume: VolumeRecord;
  /** Of this volume, or for a clone without one that of its parent; null when all is holes. */
  readonly checkpoint: CheckpointRoot | null;
  /** Behind the checkpoint, in order. */
  readonly segments: readonly LogSegment[];
  readonly committed: Committed;
}

export interface OpenedLog extends LogView {
  /** Claimed by this call: only its holder may write. */
  readonly epoch: Epoch;
  readonly nonce: Nonce;
}

export interface ReadLog extends LogView {
  /** The newest epoch claimed by anyone; 0 before the first. */
  readonly newestEpoch: Epoch;
}

/**
 * Opens a volume's log for writing. Ends in `fenced` when somebody opens it at the same time and
 * wins.
 */
export async function openLog(
  options: LogContext & {
    readonly volume: VolumeUid;
    /** Who opens it: the node's name. */
    readonly writer: string;
    /**
     * Only if nobody else claimed an epoch since this writer's last: for a process that goes on
     * where a former one stopped, unasked. `fenced` otherwise, with nothing claimed.
     */
    readonly resume?: boolean;
  },
): Promise<OpenedLog> {
  const found = await readStart(options);
  const from = found.base.position;
  if (options.resume === true) await refuseForeignEpoch({ ...options, newest: found.newestEpoch });
  const tries = options.resume === true ? 1 : undefined;
  const claim = await claimEpoch({ ...options, newest: found.newestEpoch, from, tries });
  const ours = claim.epoch;
  const view = await readBehind(options, found, ({ position }) => {
    if (position.epoch >= ours) throw overtaken(ours, position.epoch);
    return sealOlderEpochs({ ...options, after: position, ours });
  });
  return { ...view, ...claim };
}

/**
 * Reads a volume's log without changing anything: what is committed now, at least. `at`: exactly up
 * to there, or `aborted`; for a reader that was told by the log's one writer, while that one writes
 * nothing.
 */
export async function readLog(
  options: LogContext & { readonly volume: VolumeUid; readonly at?: Position },
): Promise<ReadLog> {
  const found = await readStart(options);
  const view = await readBehind(options, found, ({ position }) =>
    readCommitted({ ...options, after: position }),
  );
  const { at } = options;
  if (at !== undefined) refuseOther(view.committed.position, at);
  return { ...view, newestEpoch: found.newestEpoch };
}

function refuseOther(found: Position, expected: Position): void {
  if (comparePositions(found, expected) === 0) return;
  throw new WeirError("aborted", "the log does not stand where its writer says: try again", {
    details: {
      foundEpoch: found.epoch,
      foundSeq: found.seq,
      epoch: expected.epoch,
      seq: expected.seq,
    },
  });
}

/** A checkpoint and the position behind which this volume's own log goes on. */
interface Base {
  /** Of this volume; undefined when it has none yet. */
  readonly place: CheckpointPlace | undefined;
  readonly root: CheckpointRoot | null;
  readonly position: Position;
}

interface Start {
  readonly volume: VolumeRecord;
  readonly newestEpoch: Epoch;
  readonly base: Base;
}

async function readStart(options: LogContext & { readonly volume: VolumeUid }): Promise<Start> {
  const [volume, newestEpoch, place] = await Promise.all([
    readVolume(options),
    findNewestEpoch(options),
    findCheckpoint(options),
  ]);
  return { volume, newestEpoch, base: await readBase(options, volume, place) };
}

async function readVolume(
  options: LogContext & { readonly volume: VolumeUid },
): Promise<VolumeRecord> {
  const key = volumeKey(options.volume);
  const bytes = await getWhole({ ...options, key });
  if (bytes === undefined) {
    throw new WeirError("not-found", "the volume does not exist in the bucket", {
      details: { key },
    });
  }
  return naming(key, () => decodeVolumeRecord(bytes));
}

async function readBase(
  context: LogContext,
  volume: VolumeRecord,
  place: CheckpointPlace | undefined,
): Promise<Base> {
  if (place !== undefined) {
    const volumeSizeBytes = volume.sizeBytes;
    const root = await readCheckpointRoot({ ...context, place, volumeSizeBytes });
    return { place, root, position: { epoch: place.epoch, seq: place.seq } };
  }
  const { parent } = volume;
  if (parent === undefined) return { place, root: null, position: BEFORE_THE_FIRST };
  const root = await readCheckpointRoot({
    ...context,
    place: parent.checkpoint,
    volumeSizeBytes: parent.sizeBytes,
  });
  return { place, root, position: BEFORE_THE_FIRST };
}

/**
 * Reads what is behind the newest checkpoint. A checkpoint that appears meanwhile allows the
 * janitor to delete segments before it, which would look like the end of the log; so a read counts
 * only when the newest checkpoint is still the same afterwards.
 */
async function readBehind(
  options: LogContext & { readonly volume: VolumeUid },
  start: Start,
  read: (base: Base) => Promise<readonly LogSegment[]>,
): Promise<LogView> {
  const { volume } = start;
  let { base } = start;
  for (let restarts = 0; restarts < RESTARTS_MAX; restarts += 1) {
    const segments = await unlessCleaned(options.signal, () => read(base));
    const newest = await findCheckpoint(options);
    if (newest === undefined || isSame(newest, base.place)) {
      if (!(segments instanceof WeirError)) return viewOf(volume, base, segments);
      throw segments;
    }
    base = await readBase(options, volume, newest);
  }
  throw new WeirError("aborted", "the volume's log moved on too fast to be read: try again", {
    details: { volume: volume.uid },
  });
}

/**
 * Returns the fault when a segment was gone; whether that is right depends on the newest
 * checkpoint.
 */
async function unlessCleaned(
  signal: AbortSignal,
  read: () => Promise<readonly LogSegment[]>,
): Promise<readonly LogSegment[] | WeirError> {
  try {
    return await read();
  } catch (cause) {
    const cleaned = cause instanceof WeirError && cause.code === "aborted" && !signal.aborted;
    if (cleaned) return cause;
    throw cause;
  }
}

function viewOf(volume: VolumeRecord, base: Base, segments: readonly LogSegment[]): LogView {
  return {
    volume,
    checkpoint: base.root,
    segments,
    committed: committedOf(volume, base, segments),
  };
}

function committedOf(volume: VolumeRecord, base: Base, segments: readonly LogSegment[]): Committed {
  const last = segments.at(-1);
  if (last !== undefined) {
    const { journalId, journalEnd, volumeSizeBytes } = last.header;
    return { position: last.position, journalId, journalEnd, volumeSizeBytes };
  }
  // A parent's checkpoint speaks of the parent's journal and size.
  const own = base.place === undefined ? undefined : base.root?.header;
  return {
    position: base.position,
    journalId: own?.journalId ?? null,
    journalEnd: own?.journalEnd ?? 0,
    volumeSizeBytes: own?.volumeSizeBytes ?? volume.sizeBytes,
  };
}

function isSame(a: CheckpointPlace, b: CheckpointPlace | undefined): boolean {
  return b !== undefined && comparePositions(a, b) === 0;
}

function overtaken(ours: Epoch, theirs: Epoch): WeirError {
  return new WeirError(
    "fenced",
    `the volume was opened again elsewhere with epoch ${theirs} while this node opened it`,
    { details: { ours, theirs } },
  );
}
