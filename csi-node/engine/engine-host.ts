// All volumes of one node in one process: the native engine, the sessions, their transports, and
// the local records that let a restarted engine take every volume up again.
//
// Relies on: one EngineHost per state directory (the journals' locks enforce it). Crash:
// `attached/` names what was served and how; recover() attaches it anew, ublk devices keep their
// number and wait meanwhile.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { ByteBudget } from "../../core/runtime/byte-budget.ts";
import { FAULTS, WeirError } from "../../core/runtime/errors.ts";
import type { SnapshotUid, VolumeUid } from "../../core/runtime/ids.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { getSnapshot } from "../../core/log/catalog.ts";
import { findVolume } from "../../core/log/volumes.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import type {
  AttachedVolume,
  CallContext,
  EngineApi,
  EngineStatus,
  TransportInfo,
  TransportRequest,
} from "../control/engine-api.ts";
import { DeviceNumbers } from "./device-numbers.ts";
import { AttachRecords, refuseUnlessLost, type AttachRecord } from "./attach-records.ts";
import type { BlockEngine } from "./block-engine.ts";
import { ChangeGate } from "./change-gate.ts";
import { volumePolicySchema, type EngineConfig, type VolumePolicy } from "./config.ts";
import { FrameFetcher } from "./frame-fetcher.ts";
import { checkJournalPlace } from "./journal-place.ts";
import { VolumeSession, type SessionParts } from "./volume-session.ts";

export interface EngineHostOptions {
  readonly engine: BlockEngine;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly config: EngineConfig;
  /** Named in epoch records. */
  readonly writer: string;
  /** Differs after every start of the machine. */
  readonly bootId: string;
}

export interface Attached {
  readonly session: VolumeSession;
  readonly transport: TransportInfo | null;
  readonly record: AttachRecord;
}

/** Served by a former process, and not taken up yet. */
interface Waiting {
  readonly record: AttachRecord;
  readonly fault: WeirError;
}

const UBLK_DEPTH = 128;
const RECOVERY_RETRY_MS = 5_000;

export class EngineHost implements EngineApi {
  readonly #options: EngineHostOptions;
  readonly #fetcher: FrameFetcher;
  readonly #numbers: DeviceNumbers;
  readonly #records: AttachRecords;
  readonly #attached = new Map<VolumeUid, Attached>();
  readonly #waiting = new Map<VolumeUid, Waiting>();
  /** One change per volume at a time; a second one is refused at once. */
  readonly #busy = new Set<string>();
  readonly #stop = new AbortController();
  /** The last handoff, as a successor or as a predecessor. */
  #handoff: EngineStatus["handoff"] = null;
  /** Every change of a volume passes it; a handoff closes it. */
  readonly gate: ChangeGate;

  constructor(options: EngineHostOptions) {
    this.#options = options;
    this.gate = new ChangeGate(options.clock);
    const { engine, store, clock, random, log, config } = options;
    this.#fetcher = new FrameFetcher({
      engine,
      store,
      clock,
      random,
      log,
      budget: new ByteBudget(config.fetchBytesMax),
    });
    this.#numbers = new DeviceNumbers(engine);
    this.#records = new AttachRecords(join(config.stateDirectory, "attached"));
  }

  /**
   * Takes up what a former process of this node served. One volume's fault does not stop the
   * others: it waits, see keepRecovering.
   */
  async recover(context: CallContext): Promise<void> {
    for (const record of await this.#records.list()) {
      const { uid, name } = record;
      if (this.#attached.has(uid) || this.#busy.has(name)) continue;
      await this.#exclusively(name, context, () => this.#takeUp(record, context));
    }
  }

  /** What sessions of this engine are made with. */
  get parts(): SessionParts {
    const { engine, store, clock, random, log, config } = this.#options;
    return { engine, store, fetcher: this.#fetcher, clock, random, log, config };
  }

  get writer(): string {
    return this.#options.writer;
  }

  get attached(): readonly Attached[] {
    return [...this.#attached.values()];
  }

  noteHandoff(report: EngineStatus["handoff"]): void {
    this.#handoff = report;
  }

  /** A volume that serves already, taken over from another engine, with its record. */
  adopt(session: VolumeSession, record: Omit<AttachRecord, "bootId" | "format">): void {
    const whole: AttachRecord = { ...record, format: 1, bootId: this.#options.bootId };
    this.#attached.set(record.uid, { session, transport: shownOf(whole), record: whole });
  }

  /** Closes a volume and opens it anew over what the log says, as after a crash. Never rejects. */
  async reopen(uid: VolumeUid): Promise<void> {
    const attached = this.#attached.get(uid);
    const { signal } = this.#stop;
    if (attached === undefined || signal.aborted) return;
    const { name } = attached.record;
    try {
      await this.#exclusively(name, { signal }, () => this.#reopen(attached));
    } catch (cause) {
      this.#options.log.error({ volume: name, err: cause }, "the volume could not be opened anew");
    }
  }

  async #reopen({ session, record }: Attached): Promise<void> {
    await session.close({ drained: false });
    this.#attached.delete(record.uid);
    await this.#takeUp(record, { signal: this.#stop.signal });
  }

  /**
   * Another engine had these volumes and is dead: forgets what is known of them and takes them up
   * as after a crash. Resolves when that has begun. REQUIRES a closed gate.
   */
  async startOver(uids: readonly string[]): Promise<void> {
    const stale = this.attached.filter(({ session }) => uids.includes(session.uid));
    for (const { session } of stale) {
      await session.close({ drained: false });
      this.#attached.delete(session.uid);
    }
    const { signal } = this.#stop;
    for (const { record } of stale) {
      void this.#alone(record.name, () => this.#takeUp(record, { signal }));
    }
  }

  /** Tries again what may succeed later, until the signal ends it. */
  async keepRecovering({ signal }: CallContext): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#options.clock.sleep(RECOVERY_RETRY_MS, signal);
      } catch {
        return;
      }
      for (const { record, fault } of this.#waiting.values()) {
        if (!FAULTS[fault.code].retryable || this.#busy.has(record.name)) continue;
        if (this.gate.isClosed) continue;
        await this.#exclusively(record.name, { signal }, () => this.#takeUp(record, { signal }));
      }
    }
  }

  /** Never rejects. */
  async #takeUp(record: AttachRecord, context: CallContext): Promise<void> {
    try {
      await this.#attach(record, { ...context, resume: true });
    } catch (cause) {
      const fault =
        cause instanceof WeirError
          ? cause
          : new WeirError("internal", "the volume could not be taken up again", { cause });
      const isNew = this.#waiting.get(record.uid)?.fault.code !== fault.code;
      this.#waiting.set(record.uid, { record, fault });
      if (!isNew) return;
      const details = { volume: record.name, code: fault.code, ...fault.details };
      this.#options.log.error(details, fault.message);
      if (fault.code === "fenced") await this.#abandonDevice(record);
    }
  }

  /** Users of what is not taken up again must not wait for ever: their device ends in EIO (I4). */
  async #abandonDevice({ name, bootId, transport }: AttachRecord): Promise<void> {
    if (transport.kind !== "ublk" || transport.deviceId === null) return;
    if (bootId !== this.#options.bootId) return;
    try {
      await this.#options.engine.abandonUblk(transport.deviceId);
    } catch (cause) {
      this.#options.log.error(
        { volume: name, err: cause },
        "the device that nobody takes up could not be ended",
      );
    }
  }

  async status(): Promise<EngineStatus> {
    // One that is being closed has nothing to say any more, and the others have.
    const open = [...this.#attached.values()].filter(({ session }) => session.isOpen);
    const volumes = await Promise.all(open.map((attached) => describe(attached)));
    const waiting = [...this.#waiting.values()].map(({ record, fault }) => ({
      name: record.name,
      uid: record.uid,
      fault: { code: fault.code, message: fault.message },
    }));
    const { engine, store } = this.#options;
    const handoff = this.#handoff;
    return { store: store.label, volumes, waiting, cache: engine.cacheStats(), handoff };
  }

  attach(
    options: { name: string; transport: TransportRequest; policy: VolumePolicy },
    context: CallContext,
  ): Promise<AttachedVolume> {
    return this.#exclusively(options.name, context, async () => {
      const { uid, name } = await this.#find(options.name, context);
      const present = this.#attached.get(uid);
      if (present !== undefined) {
        if (present.transport?.kind === options.transport.kind) return describe(present);
        throw new WeirError(
          "in-use",
          "the volume is attached with another transport: detach it first",
          {
            details: { name },
          },
        );
      }
      const record = this.#newRecord({ ...options, uid, name });
      return describe(await this.#attach(record, { ...context, resume: false }));
    });
  }

  detach(options: { name: string; force: boolean }, context: CallContext): Promise<void> {
    return this.#exclusively(options.name, context, async () => {
      const attached = this.#byName(options.name);
      if (attached === undefined) return this.#forget(options);
      const { session, transport } = attached;
      const drained = !options.force && (await drainOwn(session, context));
      if (transport?.kind === "nbd") await session.volume.closeNbd();
      if (transport?.kind === "ublk") await session.volume.stopUblk();
      // What was written between the first drain and the transport's end.
      if (drained) await session.drain(context);
      await session.close({ drained });
      this.#attached.delete(session.uid);
      await this.#records.remove(session.uid);
    });
  }

  snapshot(
    options: { name: string; snapshot: string; uid?: SnapshotUid | undefined },
    context: CallContext,
  ): Promise<SnapshotRecord> {
    const { name, snapshot, uid } = options;
    const { store, clock, random } = this.#options;
    const { signal } = context;
    return this.#exclusively(name, context, async () => {
      // Opening a volume fences whoever has it by now; a call that comes late must not.
      if (uid !== undefined) {
        const taken = await getSnapshot({ store, clock, random, signal, uid });
        if (taken !== undefined) return taken;
      }
      return this.#withSession(name, context, (session) =>
        session.snapshot({ name: snapshot, uid, signal }),
      );
    });
  }

  grow(options: { name: string; sizeBytes: number }, context: CallContext): Promise<void> {
    return this.#exclusively(options.name, context, () =>
      this.#withSession(options.name, context, async (session, transport) => {
        await session.grow({ sizeBytes: options.sizeBytes, signal: context.signal });
        if (transport?.kind === "ublk") await session.volume.resizeUblk();
      }),
    );
  }

  /** Uploads everything of every volume: for a node that will not come back soon. */
  async drain(context: CallContext): Promise<void> {
    await Promise.all([...this.#attached.values()].map(({ session }) => session.drain(context)));
  }

  /**
   * Ends the process's part: ublk devices wait for the next engine, dirty data stays in the
   * journals.
   */
  async close(): Promise<void> {
    this.#stop.abort(new WeirError("aborted", "the engine is ending"));
    for (const { session } of this.#attached.values()) await session.close({ drained: false });
    this.#attached.clear();
    this.#options.engine.close();
  }

  #newRecord(wanted: {
    readonly uid: VolumeUid;
    readonly name: string;
    readonly transport: TransportRequest;
    readonly policy: VolumePolicy;
  }): AttachRecord {
    const { uid, name, policy, transport } = wanted;
    const { bootId, config } = this.#options;
    const common = { format: 1 as const, uid, name, policy, bootId };
    if (transport.kind === "nbd") {
      const socketPath = transport.socketPath ?? join(config.runDirectory, `${name}.nbd`);
      return { ...common, transport: { kind: "nbd", socketPath } };
    }
    // The device of a former process still has its users; they go on with whoever serves it.
    const before = this.#waiting.get(uid)?.record;
    const device = before?.transport.kind === "ublk" ? before.transport.deviceId : null;
    const deviceId = before?.bootId === bootId ? device : null;
    return {
      ...common,
      transport: { kind: "ublk", depth: transport.depth ?? UBLK_DEPTH, deviceId },
    };
  }

  /**
   * Detaches what was never taken up again. Unless forced, only a volume that is lost to this node
   * is let go of: any other may have dirty data in its journal here.
   */
  async #forget(options: { name: string; force: boolean }): Promise<void> {
    const { name, force } = options;
    const waiting = [...this.#waiting.values()].find(({ record }) => record.name === name);
    if (waiting === undefined)
      throw new WeirError("not-found", "the volume is not attached here", { details: { name } });
    const { record, fault } = waiting;
    if (!force) refuseUnlessLost(record, { fault, bootId: this.#options.bootId });
    // Nobody will take it up. That of a fenced one has ended, and its number may be another's.
    if (fault.code !== "fenced") await this.#abandonDevice(record);
    await this.#records.remove(record.uid);
    this.#waiting.delete(record.uid);
  }

  async #attach(
    record: AttachRecord,
    context: CallContext & { readonly resume: boolean },
  ): Promise<Attached> {
    const { config, writer } = this.#options;
    await checkJournalPlace({
      directory: config.stateDirectory,
      durability: record.policy.durability,
    });
    const known = { uid: record.uid, writer, policy: record.policy };
    const session = await VolumeSession.attach(this.parts, { ...context, ...known });
    try {
      const { transport, served } = await this.#serve(session, record);
      const attached: Attached = { session, transport, record: served };
      this.#attached.set(record.uid, attached);
      this.#waiting.delete(record.uid);
      return attached;
    } catch (cause) {
      await session.close({ drained: false });
      const isKept = context.resume || this.#waiting.has(record.uid);
      if (!isKept) await this.#records.remove(record.uid);
      throw cause;
    }
  }

  /** With its record, so that the next engine takes it up. */
  async #serve(
    session: VolumeSession,
    record: AttachRecord,
  ): Promise<{ transport: TransportInfo; served: AttachRecord }> {
    const { transport } = record;
    if (transport.kind === "nbd") {
      const { socketPath } = transport;
      await mkdir(this.#options.config.runDirectory, { recursive: true, mode: 0o755 });
      await session.volume.listenNbd({ socketPath, exportName: record.name });
      await this.#records.write(record);
      return { transport: shownNbd(transport), served: record };
    }
    const { bootId } = this.#options;
    const survivor = record.bootId === bootId ? transport.deviceId : null;
    using chosen = await this.#numbers.choose(survivor);
    const { id } = chosen;
    const served = { ...record, bootId, transport: { ...transport, deviceId: id } };
    // Before the device is there: a device without a record would be nobody's after a crash.
    await this.#records.write(served);
    const { depth } = transport;
    await session.volume.startUblk({ id, depth, recover: survivor !== null });
    return { transport: shownUblk(id), served };
  }

  /** The attached session, or one opened for the moment and drained after. */
  async #withSession<T>(
    name: string,
    context: CallContext,
    use: (session: VolumeSession, transport: TransportInfo | null) => Promise<T>,
  ): Promise<T> {
    const attached = this.#byName(name);
    if (attached !== undefined) return use(attached.session, attached.transport);
    const { uid } = await this.#find(name, context);
    const known = { uid, writer: this.writer, policy: volumePolicySchema.parse({}) };
    const session = await VolumeSession.attach(this.parts, { ...context, ...known, resume: false });
    let drained = false;
    try {
      const result = await use(session, null);
      await session.drain(context);
      drained = true;
      return result;
    } finally {
      await session.close({ drained });
    }
  }

  async #find(name: string, context: CallContext): Promise<{ uid: VolumeUid; name: string }> {
    const { store, clock, random } = this.#options;
    const found = await findVolume({ store, clock, random, signal: context.signal, name });
    if (found === undefined) {
      throw new WeirError("not-found", "there is no volume of that name in this store", {
        details: { name, store: this.#options.store.label },
      });
    }
    return found;
  }

  #byName(name: string): Attached | undefined {
    return [...this.#attached.values()].find((attached) => attached.record.name === name);
  }

  #exclusively<T>(
    name: string,
    { signal }: { readonly signal: AbortSignal },
    act: () => Promise<T>,
  ): Promise<T> {
    return this.gate.pass(signal, () => this.#alone(name, act));
  }

  async #alone<T>(name: string, act: () => Promise<T>): Promise<T> {
    if (this.#busy.has(name)) {
      throw new WeirError(
        "aborted",
        "another operation on this volume is under way: try again when it has ended",
        {
          details: { name },
        },
      );
    }
    this.#busy.add(name);
    try {
      return await act();
    } finally {
      this.#busy.delete(name);
    }
  }
}

function shownOf({ transport }: AttachRecord): TransportInfo | null {
  if (transport.kind === "nbd") return shownNbd(transport);
  return transport.deviceId === null ? null : shownUblk(transport.deviceId);
}

function shownNbd({ socketPath }: { readonly socketPath: string }): TransportInfo {
  return { kind: "nbd", socketPath, uri: `nbd+unix:///?socket=${socketPath}` };
}

function shownUblk(deviceId: number): TransportInfo {
  return { kind: "ublk", deviceId, devicePath: `/dev/ublkb${deviceId}` };
}

/**
 * False when another node has the volume by now: what was not uploaded stays in the journal here,
 * which the next attachment sets aside; nobody could ever let go of the volume otherwise.
 */
async function drainOwn(session: VolumeSession, context: CallContext): Promise<boolean> {
  try {
    await session.drain(context);
    return true;
  } catch (cause) {
    if (cause instanceof WeirError && cause.code === "fenced") return false;
    throw cause;
  }
}

async function describe(attached: Attached): Promise<AttachedVolume> {
  return { ...(await attached.session.status()), transport: attached.transport };
}
