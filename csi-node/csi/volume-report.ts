// What a node says about a volume in its Volume's status: pure, from the engine's words to fields
// and conditions.
import { FAULTS, type FaultCode } from "../../core/runtime/errors.ts";
import { isoSeconds } from "../../core/runtime/iso-time.ts";
import {
  findCondition,
  nextCondition,
  type Condition,
  type ConditionContent,
} from "../../crds/conditions.ts";
import { formatQuantity } from "../../crds/quantity.ts";
import { strandedMessage } from "../../crds/stranded.ts";
import type { VolumeStatus } from "../../crds/volume.ts";
import type { AttachedVolume, EngineStatus } from "../control/engine-api.ts";
import { wordsOf } from "./handoff-words.ts";

/** Uploads of an idle volume begin after seconds; beyond this something holds them up. */
const LATE_MS = 60_000;

interface Shown {
  readonly code: string;
  readonly message: string;
}

/** The fields that are this node's to write, and its conditions. */
export interface VolumeReport {
  readonly fields: Pick<VolumeStatus, "size" | "position" | "dirtyBytes" | "atRiskSince">;
  readonly healthy: ConditionContent;
  readonly stable: ConditionContent;
  /** How the engine's last handoff went; not there before there was one. */
  readonly handedOver?: ConditionContent;
}

export function reportAttached(
  volume: AttachedVolume,
  options: {
    readonly wallMs: number;
    /** What other nodes have of it that nobody else has. */
    readonly stranded: VolumeStatus["stranded"];
    readonly handoff: EngineStatus["handoff"];
  },
): VolumeReport {
  const { dirtyBytes, dirtyAgeMs, fault, trouble } = volume;
  const isDirty = dirtyBytes > 0;
  const sinceMs = options.wallMs - dirtyAgeMs;
  return {
    fields: {
      size: formatQuantity(volume.sizeBytes),
      position: { epoch: volume.committedEpoch, seq: volume.committedSeq },
      dirtyBytes,
      ...(isDirty ? { atRiskSince: isoSeconds(sinceMs) } : {}),
    },
    healthy: fault === undefined ? HEALTHY : unhealthy(fault),
    stable: isDirty ? dirty(dirtyAgeMs > LATE_MS ? trouble : undefined) : settled(options),
    ...handedOver(volume, options.handoff),
  };
}

/** A volume whose device waits for the engine to take it up: the facts stay as they were. */
export function reportWaiting(fault: Shown, present: VolumeStatus | undefined): VolumeReport {
  return {
    fields: keptFields(present),
    healthy: unhealthy(fault),
    stable: dirty(fault),
  };
}

/** A volume that is to be used here and cannot be: its data is as it was. */
export function reportUnstaged(fault: Shown, present: VolumeStatus | undefined): VolumeReport {
  return {
    fields: keptFields(present),
    healthy: unhealthy(fault),
    stable: findCondition(present?.conditions, "Stable") ?? settled(present),
  };
}

/** A volume that was detached here: that ends only when everything is in the bucket. */
export function reportDetached(present: VolumeStatus | undefined): VolumeReport {
  const { size, position } = keptFields(present);
  return {
    fields: {
      ...(size === undefined ? {} : { size }),
      ...(position === undefined ? {} : { position }),
      dirtyBytes: 0,
    },
    healthy: HEALTHY,
    stable: settled(present),
  };
}

/** The status as the node's manager applies it: what is left out would be taken away. */
export function statusOf(
  report: VolumeReport,
  options: {
    readonly present: readonly Condition[] | undefined;
    readonly observedGeneration: number | undefined;
    readonly wallMs: number;
  },
): object {
  const { present, observedGeneration } = options;
  const now = isoSeconds(options.wallMs);
  const { healthy, stable, handedOver } = report;
  const stated = [healthy, stable, ...(handedOver === undefined ? [] : [handedOver])];
  const conditions = stated.map((content) =>
    nextCondition({ present, content: { ...content, observedGeneration }, now }),
  );
  return { ...report.fields, conditions };
}

/**
 * What must be told at once; the numbers may wait. That data is at risk, too: of a node that is
 * lost nobody learns more than it told. That it is safe again may wait, so that a volume that is
 * written to now and then is not reported at every turn.
 */
export function isUrgent(report: VolumeReport, before: VolumeReport): boolean {
  if (report.healthy.reason !== before.healthy.reason) return true;
  if (report.handedOver?.status === "False" && before.handedOver?.status !== "False") return true;
  const { reason } = report.stable;
  return reason !== before.stable.reason && reason !== STABLE.reason && reason !== STRANDED;
}

/** Why nothing is dirty here, and yet not everything is in the bucket. */
const STRANDED = "StrandedOnNode";

const HEALTHY: ConditionContent = {
  type: "Healthy",
  status: "True",
  reason: "Healthy",
  message: "The volume answers.",
};

const STABLE: ConditionContent = {
  type: "Stable",
  status: "True",
  reason: "Stable",
  message: "Everything that was written is in the bucket.",
};

/** Of the last handoff; nothing of one that went well before this volume was here. */
function handedOver(
  { uid }: AttachedVolume,
  handoff: EngineStatus["handoff"],
): Pick<VolumeReport, "handedOver"> {
  if (handoff === null) return {};
  const { reason, note } = wordsOf(handoff);
  const type = "HandedOver";
  if (reason === "HandoffFailed") {
    return { handedOver: { type, status: "False", reason, message: note } };
  }
  const device = handoff.devices.find((one) => one.uid === uid);
  if (reason === "HandoffTried" || device === undefined) return {};
  const waitedMs = (device.stallUs / 1_000).toFixed(1);
  const message = `A new engine serves it; its I/O waited for ${waitedMs} ms.`;
  return { handedOver: { type, status: "True", reason, message } };
}

/** Nothing is dirty here. */
function settled(status: Pick<VolumeStatus, "stranded"> | undefined): ConditionContent {
  const last = status?.stranded?.at(-1);
  if (last === undefined) return STABLE;
  const message = strandedMessage(last);
  return { type: "Stable", status: "False", reason: STRANDED, message };
}

export function unhealthy({ code, message }: Shown): ConditionContent {
  return { type: "Healthy", status: "False", reason: reasonOf(code), message };
}

function dirty(trouble: Shown | undefined): ConditionContent {
  return {
    type: "Stable",
    status: "False",
    reason: trouble === undefined ? "Dirty" : reasonOf(trouble.code),
    message: trouble?.message ?? "Some writes are on this node only; they are being uploaded.",
  };
}

/** A code of a newer engine has no reason in this release's table. */
function reasonOf(code: string): string {
  return isFaultCode(code) ? FAULTS[code].reason : "Fault";
}

function isFaultCode(code: string): code is FaultCode {
  return Object.hasOwn(FAULTS, code);
}

function keptFields(present: VolumeStatus | undefined): VolumeReport["fields"] {
  const { size, position, dirtyBytes, atRiskSince } = present ?? {};
  return {
    ...(size === undefined ? {} : { size }),
    ...(position === undefined ? {} : { position }),
    ...(dirtyBytes === undefined ? {} : { dirtyBytes }),
    ...(atRiskSince === undefined ? {} : { atRiskSince }),
  };
}
