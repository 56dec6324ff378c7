// One attached volume: claims its epoch, opens it in the engine over what the log says, keeps
// uploads, fetches and checkpoints going, and lets go of it again.
//
// Relies on: I4 (the epoch was claimed and the former one sealed before the first I/O), I5 (a
// checkpoint or snapshot names only what is committed). Who calls: EngineHost, one session per
// volume. Failure: `fenced` and a failed journal end the volume in EIO; everything else is retried
// and shown in status().
import { mkdir, rename, rm } from "node:fs/promises";

import { LogWriter } from "../../core/log/log-writer.ts";
import { openLog, type LogView } from "../../core/log/open-log.ts";
import { createSnapshot } from "../../core/log/snapshots.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import {
  asEpoch,
  asNonce,
  asSeq,
  type Epoch,
  type Nonce,
  type Position,
  type SnapshotUid,
  type VolumeUid,
} from "../../core/runtime/ids.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { abortable } from "../../core/runtime/timer-signals.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import type {
  BlockEngine,
  BlockVolume,
  FrameWanted,
  VolumeEvents,
  VolumeStats,
} from "./block-engine.ts";
import { Checkpointer, type WrittenCheckpoint } from "./checkpointer.ts";
import { claimAgain } from "./claim-again.ts";
import type { EngineConfig, VolumePolicy } from "./config.ts";
import type { FrameFetcher } from "./frame-fetcher.ts";
import { decideJournal, type JournalDecision } from "./journal-decision.ts";
import { Uploader, type UploadTarget } from "./uploader.ts";
import { journalDirectoryOf, openOptionsOf, volumeBaseOf } from "./volume-options.ts";
import { WindowAnswers } from "./window-answers.ts";

export interface SessionParts {
  readonly engine: BlockEngine;
  readonly store: ObjectStore;
  readonly fetcher: FrameFetcher;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly config: EngineConfig;
}

export interface SessionOptions {
  readonly uid: VolumeUid;
  /** Who attaches, for the epoch record: a node's name. */
  readonly writer: string;
  readonly policy: VolumePolicy;
}

/** How a volume is attached, other than by taking it over. */
export interface AttachOptions extends SessionOptions {
  /** Nobody asked for it: `fenced` when another node attached the volume since. */
  readonly resume: boolean;
  readonly signal: AbortSignal;
}

/** A volume that serves already: it came from another engine of this node. */
export interface AdoptOptions extends SessionOptions {
  readonly volume: BlockVolume;
  /** Where the log stands; nobody has uploaded since. */
  readonly log: LogView;
  /** Of the other engine; ours is claimed later. */
  readonly epoch: Epoch;
  readonly journalId: Nonce;
  /** The log turned out to stand elsewhere: close the session and attach anew. */
  readonly onMoved: () => void;
}

export interface SessionStatus extends VolumeStats {
  readonly uid: VolumeUid;
  readonly name: string;
  readonly epoch: number;
  readonly durability: "local" | "s3";
  readonly uploadedBytes: number;
  /** A journal that another writer overtook; its dirty data was set aside there. */
  readonly strandedJournal: string | undefined;
  /** Why the volume answers EIO. */
  readonly fault: { readonly code: string; readonly message: string } | undefined;
  /** The last trouble that did not end the volume. */
  readonly trouble: { readonly code: string; readonly message: string } | undefined;
}

/** What the session is made of once it is open. */
interface Opened {
  readonly log: LogView;
  /** Another one when the epoch of an adopted volume has been claimed. */
  epoch: Epoch;
  readonly journalId: Nonce;
  readonly volume: BlockVolume;
  readonly answers: WindowAnswers;
  readonly uploader: Uploader;
  readonly checkpointer: Checkpointer;
}

export class VolumeSession {
  readonly #parts: SessionParts;
  readonly #options: SessionOptions;
  readonly #stop = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  #opened: Opened | undefined;
  #strandedJournal: string | undefined;
  #fault: WeirError | undefined;
  #trouble: WeirError | undefined;

  private constructor(parts: SessionParts, options: SessionOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Attaches the volume; when it resolves, transports can be started. */
  static async attach(parts: SessionParts, options: AttachOptions): Promise<VolumeSession> {
    const session = new VolumeSession(parts, options);
    await session.#open(options);
    return session;
  }

  static adopt(parts: SessionParts, options: AdoptOptions): VolumeSession {
    const session = new VolumeSession(parts, options);
    session.#opened = session.#start(options, session.#claim(options));
    // What is dirty is not waited for until it is old enough once more.
    session.#opened.uploader.notify(true);
    return session;
  }

  /** For whoever opened the volume; they may come before the session is complete. */
  get events(): VolumeEvents {
    return {
      onFetch: (frame) => this.#track(this.#fetch(frame)),
      onChunk: (chunk) => this.#track(this.#must().checkpointer.serveChunk(chunk)),
      onDirty: (urgent) => this.#opened?.uploader.notify(urgent),
      onFailed: (fault) => this.#giveUp(fault),
    };
  }

  /** Until close() begins. */
  get isOpen(): boolean {
    return this.#opened !== undefined;
  }

  /** Why the volume answers EIO. */
  get fault(): WeirError | undefined {
    return this.#fault;
  }

  get policy(): VolumePolicy {
    return this.#options.policy;
  }

  /**
   * The log stands still when it resolves: nothing is uploaded, no checkpoint is written, and the
   * epoch is our own. Until resume().
   */
  async pause(signal: AbortSignal): Promise<void> {
    const { uploader, checkpointer } = this.#must();
    this.#throwIfFaulted();
    await uploader.pause({ signal });
    await abortable(checkpointer.settled(), signal);
  }

  resume(): void {
    this.#opened?.uploader.resume();
  }

  /** While another engine may take the volume: see WindowAnswers. */
  get answers(): WindowAnswers {
    return this.#must().answers;
  }

  /** Uploads what is dirty now rather than when it is old enough. */
  hasten(): void {
    this.#opened?.uploader.notify(true);
  }

  /** What another engine must know to take the volume over. REQUIRES pause(). */
  async place(): Promise<{ epoch: Epoch; committed: Position; journalId: Nonce }> {
    const { volume, epoch, journalId } = this.#must();
    const { committedEpoch, committedSeq } = await volume.stats();
    const committed = { epoch: asEpoch(committedEpoch), seq: asSeq(committedSeq) };
    return { epoch, committed, journalId };
  }

  get volume(): BlockVolume {
    return this.#must().volume;
  }

  get uid(): VolumeUid {
    return this.#options.uid;
  }

  get name(): string {
    return this.#must().log.volume.name;
  }

  async status(): Promise<SessionStatus> {
    const { volume, log, uploader, epoch } = this.#must();
    const shown = (fault: WeirError | undefined) =>
      fault === undefined ? undefined : { code: fault.code, message: fault.message };
    return {
      ...(await volume.stats()),
      uid: this.uid,
      name: log.volume.name,
      epoch,
      durability: this.#options.policy.durability,
      uploadedBytes: uploader.uploadedBytes,
      strandedJournal: this.#strandedJournal,
      fault: shown(this.#fault),
      trouble: shown(this.#trouble),
    };
  }

  /** Commits everything acknowledged so far, then names that position for ever. */
  async snapshot(options: {
    name: string;
    uid?: SnapshotUid | undefined;
    signal: AbortSignal;
  }): Promise<SnapshotRecord> {
    const { log } = this.#must();
    this.#throwIfFaulted();
    const cut = await this.#commitCut(options.signal);
    return createSnapshot({
      store: this.#parts.store,
      clock: this.#parts.clock,
      random: this.#parts.random,
      signal: options.signal,
      name: options.name,
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      volume: log.volume,
      position: cut.position,
      checkpoint: cut.checkpoint,
      sizeBytes: cut.sizeBytes,
    });
  }

  /**
   * Commits and checkpoints. A volume that has no position of its own yet gets one: an empty
   * segment.
   */
  async #commitCut(signal: AbortSignal): Promise<WrittenCheckpoint> {
    const { uploader, checkpointer, volume } = this.#must();
    await uploader.drain({ signal });
    const cut = await checkpointer.write({ signal });
    if (cut !== undefined) return cut;
    await volume.grow((await volume.stats()).sizeBytes);
    return this.#commitCut(signal);
  }

  async grow(options: { sizeBytes: number; signal: AbortSignal }): Promise<void> {
    const { volume, uploader } = this.#must();
    const { sizeBytes } = await volume.stats();
    if (options.sizeBytes < sizeBytes) {
      throw new WeirError(
        "invalid-argument",
        "a volume can only grow: choose a size above the present one",
        {
          details: { sizeBytes, requestedBytes: options.sizeBytes },
        },
      );
    }
    if (options.sizeBytes === sizeBytes) return;
    await volume.grow(options.sizeBytes);
    await uploader.drain({ signal: options.signal });
  }

  /** Uploads everything and writes a checkpoint; onProgress tells what is still dirty. */
  async drain(options: {
    signal: AbortSignal;
    onProgress?: (dirtyBytes: number) => void;
  }): Promise<void> {
    const { uploader, checkpointer, volume } = this.#must();
    await uploader.drain({
      signal: options.signal,
      onProgress: () => {
        if (options.onProgress !== undefined) {
          void volume.stats().then(
            (stats) => options.onProgress?.(stats.dirtyBytes),
            () => undefined,
          );
        }
      },
    });
    await checkpointer.write({ signal: options.signal });
    options.onProgress?.(0);
  }

  /** Lets go. `drained`: nothing is left to keep, so the journal goes too. */
  async close(options: { drained: boolean }): Promise<void> {
    const opened = this.#opened;
    if (opened === undefined) return;
    this.#opened = undefined;
    this.#stop.abort(new WeirError("aborted", "the volume is being detached"));
    await opened.uploader.stop();
    await opened.checkpointer.settled();
    await opened.volume.close();
    await Promise.allSettled(this.#tasks);
    if (options.drained) await rm(this.#journalDirectory(), { recursive: true, force: true });
  }

  async #open(options: AttachOptions): Promise<void> {
    const { store, clock, random, config, engine } = this.#parts;
    const log = await openLog({ store, clock, random, ...options, volume: this.uid });
    const directory = this.#journalDirectory();
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const decision = decideJournal(engine.inspectJournal(directory), log);
    const journalEnd = await this.#settleJournal(decision, directory);
    const journalId = decision.kind === "replay" ? decision.journalId : asNonce(random.hex32());
    const { epoch } = log;
    const volume = await engine.openVolume(
      openOptionsOf({ ...options, config, epoch, journalId }),
      volumeBaseOf(log, journalEnd),
      this.events,
    );
    const target = Promise.resolve(this.#targetOf(epoch));
    this.#opened = this.#start({ log, volume, epoch, journalId }, target);
    if (volume.opened.dirtyBytes > 0 || volume.opened.replayedRecords > 0)
      this.#opened.uploader.notify(true);
  }

  #start(
    found: Pick<AdoptOptions, "log" | "volume" | "epoch" | "journalId">,
    target: Promise<UploadTarget>,
  ): Opened {
    const { log, volume, epoch, journalId } = found;
    const { store, clock, random, config } = this.#parts;
    const { policy, uid } = this.#options;
    const { signal } = this.#stop;
    const answers = new WindowAnswers(volume);
    const checkpointer = new Checkpointer({
      store,
      clock,
      random,
      volume: {
        capture: () => volume.capture(),
        checkpointDone: (chunks) => volume.checkpointDone(chunks),
        completeChunk: (chunk, payload) => answers.completeChunk(chunk, payload),
      },
      uid,
      journalId,
      committed: log.committed,
      root: log.checkpoint,
      everySegments: policy.checkpointSegments,
      segmentsBehind: log.segments.length,
      readDeadlineMs: policy.readDeadlineMs,
      signal,
      onTrouble: (fault) => this.#note(fault),
    });
    const uploader = new Uploader({
      volume,
      clock,
      random,
      target,
      maxDirtyAgeMs: policy.maxDirtyAgeMs,
      segmentBytes: policy.segmentBytes,
      inFlightMax: config.uploadsInFlight,
      drainWhenUrgent: policy.durability === "s3",
      onCommitted: () => checkpointer.noteCommit(),
      onFault: (fault) => this.#giveUp(fault),
    });
    if (!config.holdUploads) uploader.start();
    return { log, epoch, journalId, volume, answers, uploader, checkpointer };
  }

  #targetOf(epoch: Epoch): UploadTarget {
    const { store, clock, random } = this.#parts;
    const writer = new LogWriter({
      store,
      clock,
      random,
      volume: this.uid,
      epoch,
      signal: this.#stop.signal,
      onRetry: (fault) => this.#note(fault),
    });
    return { epoch, commit: (segment) => writer.commitSegment(segment) };
  }

  /** Gives an adopted volume its own epoch. Rejects when the session cannot go on. */
  async #claim({ log, onMoved }: AdoptOptions): Promise<UploadTarget> {
    const { store, clock, random } = this.#parts;
    const expected = log.committed.position;
    const onTrouble = (fault: WeirError): void => this.#note(fault);
    const { signal } = this.#stop;
    const { writer, uid: volume } = this.#options;
    const context = { store, clock, random, signal };
    try {
      const outcome = await claimAgain({ ...context, volume, writer, expected, onTrouble });
      if (outcome.kind === "claimed") {
        this.#must().epoch = outcome.log.epoch;
        return this.#targetOf(outcome.log.epoch);
      }
    } catch (cause) {
      if (!signal.aborted) this.#giveUp(toFault(cause, "the epoch could not be claimed"));
      throw cause;
    }
    onMoved();
    throw new WeirError("aborted", "the log moved on: the volume is attached anew");
  }

  /** Makes the journal folder what the decision says; returns the records the log already holds. */
  async #settleJournal(decision: JournalDecision, directory: string): Promise<number> {
    if (decision.kind === "fresh") return 0;
    if (decision.kind === "replay") return decision.journalEnd;
    // Another writer went on meanwhile: replaying would overwrite what it acknowledged (I4).
    const aside = `${directory}.stranded-${decision.journalId}`;
    await rename(directory, aside);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    this.#strandedJournal = aside;
    const where = { volume: this.uid, directory: aside };
    this.#parts.log.warn(where, "a journal that another writer overtook was set aside");
    return 0;
  }

  async #fetch(frame: FrameWanted): Promise<void> {
    await this.#parts.fetcher.fetch(frame, {
      volume: this.#must().answers,
      deadlineMs: this.#options.policy.readDeadlineMs,
      signal: this.#stop.signal,
      onFault: (fault) => this.#note(fault),
    });
  }

  /** The volume ends here: EIO from now on, and the reason stays in status(). */
  #giveUp(fault: WeirError): void {
    if (this.#fault !== undefined) return;
    this.#fault = fault;
    this.#parts.log.error({ volume: this.uid, code: fault.code, ...fault.details }, fault.message);
    const volume = this.#opened?.volume;
    if (volume !== undefined) this.#track(volume.fail());
  }

  #note(fault: WeirError): void {
    this.#trouble = fault;
    this.#parts.log.warn({ volume: this.uid, code: fault.code, ...fault.details }, fault.message);
  }

  /** Keeps a task that nobody awaits until close(); its fault is noted, never lost. */
  #track(task: Promise<void>): void {
    const settled = task.catch((cause: unknown) => {
      if (!this.#stop.signal.aborted) this.#note(toFault(cause, "a task failed unexpectedly"));
    });
    this.#tasks.add(settled);
    void settled.finally(() => this.#tasks.delete(settled));
  }

  #journalDirectory(): string {
    return journalDirectoryOf(this.#parts.config, this.uid);
  }

  #throwIfFaulted(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }

  #must(): Opened {
    if (this.#opened === undefined)
      throw new WeirError("not-found", "the volume is not attached here");
    return this.#opened;
  }
}

function toFault(cause: unknown, message: string): WeirError {
  return cause instanceof WeirError ? cause : new WeirError("internal", message, { cause });
}
