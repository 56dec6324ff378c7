// Reports the volumes of this node in their Volume's status, and tells people about faults by
// events. Nothing that serves I/O waits for it: without an API server the volumes go on, and the
// next report that gets through says how they are.
//
// Who writes: only while the Volume's status names this node, or no node any more; a later node's
// report must not be overwritten by an earlier one's last words.
import { FAULTS, WeirError } from "../../core/runtime/errors.ts";
import { logFault } from "../../core/runtime/log.ts";
import { whenAborted } from "../../core/runtime/timer-signals.ts";
import { apiVersionOf } from "../../core/kube/kind.ts";
import { EventRecorder } from "../../core/kube/events.ts";
import { PERSISTENT_VOLUME_CLAIM } from "../../core/kube/kinds.ts";
import type { KubeEvent } from "../../core/kube/kube-api.ts";
import { LABELS } from "../../crds/common-fields.ts";
import { VOLUME, type Volume, type VolumeStatus } from "../../crds/volume.ts";
import type { EngineStatus } from "../control/engine-api.ts";
import { FIELD_MANAGER, type AgentParts } from "./snapshot-agent.ts";
import {
  isUrgent,
  reportAttached,
  reportDetached,
  reportUnstaged,
  reportWaiting,
  statusOf,
  unhealthy,
  type VolumeReport,
} from "./volume-report.ts";

const POLL_MS = 5_000;
/** Between two reports of one volume that differ in numbers only. */
const REPORT_MS = 30_000;
const CALL_MS = 20_000;

interface Reported {
  readonly report: VolumeReport;
  readonly stranded: VolumeStatus["stranded"];
  readonly atMs: number;
}

type Shown = Pick<WeirError, "code" | "message">;

export class VolumeAgent {
  readonly #parts: AgentParts;
  /** What the API server has of each volume of this node, by name. */
  readonly #reported = new Map<string, Reported>();
  /** Why a volume could not be staged here, by name. */
  readonly #unstaged = new Map<string, Shown>();
  /** Volumes that another node has now, of which people were told that this one still has data. */
  readonly #overtaken = new Set<string>();
  #poked = Promise.withResolvers<void>();

  constructor(parts: AgentParts) {
    this.#parts = parts;
  }

  /** Something was attached or detached, or could not be: look now. */
  onStage(name: string, fault: WeirError | undefined): void {
    if (fault === undefined) this.#unstaged.delete(name);
    else if (isWorthTelling(fault)) this.#unstaged.set(name, fault);
    this.#poked.resolve();
  }

  /** Resolves when the signal has ended it. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    await using events = new EventRecorder(this.#parts);
    while (!signal.aborted) {
      await this.#turn(events, signal);
      using wait = clock.deadline(POLL_MS, signal);
      await Promise.race([whenAborted(wait), this.#poked.promise]);
      this.#poked = Promise.withResolvers();
    }
  }

  /** One look at the engine, and the reports that are due. Never rejects. */
  async #turn(events: EventRecorder, parent: AbortSignal): Promise<void> {
    const { clock, engine, log } = this.#parts;
    let status: EngineStatus;
    try {
      using signal = clock.deadline(CALL_MS, parent);
      status = await engine.status({ signal });
    } catch (cause) {
      // Its own container says so; a restart of the engine is no event of any volume.
      log.debug({ err: cause }, "the engine cannot be asked for its volumes");
      return;
    }
    const names = new Set([
      ...status.volumes.map(({ name }) => name),
      ...status.waiting.map(({ name }) => name),
      ...this.#reported.keys(),
      ...this.#unstaged.keys(),
    ]);
    for (const name of names) {
      if (parent.aborted) return;
      try {
        using signal = clock.deadline(CALL_MS, parent);
        await this.#reportOne({ name, status, events, signal });
      } catch (cause) {
        if (!parent.aborted) logFault(log.child({ volume: name }), cause, "a report failed");
      }
    }
  }

  async #reportOne(options: {
    readonly name: string;
    readonly status: EngineStatus;
    readonly events: EventRecorder;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { name, status, events, signal } = options;
    const { api, clock, nodeName } = this.#parts;
    const attached = status.volumes.find((volume) => volume.name === name);
    const late = status.waiting.find((volume) => volume.name === name);
    const before = this.#reported.get(name);
    if (attached !== undefined && before !== undefined) {
      const { stranded } = before;
      const { handoff } = status;
      const next = reportAttached(attached, { wallMs: clock.wallMs(), stranded, handoff });
      if (!this.#isDue(next, before)) return;
    }
    if (late?.fault.code !== "fenced") this.#overtaken.delete(name);
    else if (this.#overtaken.has(name)) return;
    const volume = await api.get(VOLUME, { name }, { signal });
    const node = volume?.status?.node ?? "";
    if (node !== nodeName) this.#unstaged.delete(name);
    if (volume === undefined || (node !== "" && node !== nodeName)) {
      this.#reported.delete(name);
      if (volume === undefined || late?.fault.code !== "fenced") return;
      this.#overtaken.add(name);
      await this.#tellPeople({ volume, healthy: unhealthy(late.fault), events, signal });
      return;
    }
    const report = this.#describe({ name, status, volume });
    const isGone = attached === undefined && late === undefined && !this.#unstaged.has(name);
    if (before !== undefined && !isGone && !this.#isDue(report, before)) return;
    await this.#write({ volume, report, signal });
    if (before?.report.healthy.reason !== report.healthy.reason) {
      await this.#tellPeople({ volume, healthy: report.healthy, events, signal });
    }
    const { stranded } = volume.status ?? {};
    if (isGone) this.#reported.delete(name);
    else this.#reported.set(name, { report, stranded, atMs: clock.monotonicMs() });
  }

  #describe(options: {
    readonly name: string;
    readonly status: EngineStatus;
    readonly volume: Volume;
  }): VolumeReport {
    const { name, status, volume } = options;
    const attached = status.volumes.find((one) => one.name === name);
    if (attached !== undefined) {
      const { stranded } = volume.status ?? {};
      const { handoff } = status;
      return reportAttached(attached, { wallMs: this.#parts.clock.wallMs(), stranded, handoff });
    }
    const late = status.waiting.find((one) => one.name === name);
    if (late !== undefined) return reportWaiting(late.fault, volume.status);
    const fault = this.#unstaged.get(name);
    return fault === undefined
      ? reportDetached(volume.status)
      : reportUnstaged(fault, volume.status);
  }

  #isDue(report: VolumeReport, before: Reported): boolean {
    if (isUrgent(report, before.report)) return true;
    if (JSON.stringify(report) === JSON.stringify(before.report)) return false;
    return this.#parts.clock.monotonicMs() - before.atMs >= REPORT_MS;
  }

  async #write(options: {
    readonly volume: Volume;
    readonly report: VolumeReport;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { api, clock, log } = this.#parts;
    const { volume, report, signal } = options;
    const { name } = volume.metadata;
    const observedGeneration = volume.metadata.generation;
    const present = volume.status?.conditions;
    const status = statusOf(report, { present, observedGeneration, wallMs: clock.wallMs() });
    const written = await api.apply(
      VOLUME,
      { metadata: { name }, status },
      { fieldManager: FIELD_MANAGER, force: true, status: true },
      { signal },
    );
    if (written.kind === "written" || written.kind === "absent") return;
    log.error({ volume: name, refusal: written.message }, "a volume's status was refused");
  }

  /** On the Volume, and on the claim, where users look. */
  async #tellPeople(options: {
    readonly volume: Volume;
    readonly healthy: VolumeReport["healthy"];
    readonly events: EventRecorder;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { volume, healthy, events, signal } = options;
    if (healthy.status === "True") return;
    const { name, uid } = volume.metadata;
    const regarding: KubeEvent["regarding"][] = [
      { apiVersion: apiVersionOf(VOLUME), kind: VOLUME.kind, name, uid },
      ...(await this.#claimOf(volume, signal)),
    ];
    for (const object of regarding) {
      events.record({
        regarding: object,
        type: "Warning",
        reason: healthy.reason,
        note: `${healthy.message} (node ${this.#parts.nodeName})`,
        action: "ServeVolume",
      });
    }
  }

  async #claimOf(volume: Volume, signal: AbortSignal): Promise<KubeEvent["regarding"][]> {
    const name = volume.metadata.labels?.[LABELS.pvcName];
    const namespace = volume.metadata.labels?.[LABELS.pvcNamespace];
    if (name === undefined || namespace === undefined) return [];
    try {
      const claim = await this.#parts.api.get(
        PERSISTENT_VOLUME_CLAIM,
        { name, namespace },
        { signal },
      );
      if (claim === undefined) return [];
      const { kind } = PERSISTENT_VOLUME_CLAIM;
      const apiVersion = apiVersionOf(PERSISTENT_VOLUME_CLAIM);
      return [{ apiVersion, kind, name, namespace, uid: claim.metadata.uid }];
    } catch (cause) {
      if (cause instanceof WeirError) return [];
      throw cause;
    }
  }
}

/** Not what passes by itself while kubelet tries again. */
function isWorthTelling({ code }: WeirError): boolean {
  const { retryable, level } = FAULTS[code];
  return !retryable || level === "error";
}
