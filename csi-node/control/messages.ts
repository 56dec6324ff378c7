// What travels over the control socket, version 1. A call is `POST /v1/<method>` with a JSON
// body; the answer is a stream of JSON lines: any number of {"progress"}, then one {"result"} or
// {"fault"}. The server checks what it is asked, the client what it is told. Fields that are not
// known are ignored, so that a newer peer may add some; a change of meaning is a new version in
// the path.
import { z } from "zod";

import { FAULTS, WeirError, type FaultCode } from "../../core/runtime/errors.ts";
import { asEpoch, asNonce, asSeq, asSnapshotUid, asVolumeUid } from "../../core/runtime/ids.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import { volumePolicySchema } from "../engine/config.ts";
import type { AttachedVolume, EngineStatus } from "./engine-api.ts";

const METHODS = ["status", "attach", "detach", "snapshot", "grow"] as const;
export type Method = (typeof METHODS)[number];

export const CALL_PATH = "/v1/";
/** A request is a few hundred bytes. */
export const REQUEST_BYTES_MAX = 64 * 1024;
/** One line of an answer: `status` of a thousand volumes is about 1 MiB. */
export const LINE_BYTES_MAX = 16 * 1024 * 1024;

const name = z.string().min(1).max(253);
const hex32 = z.string().regex(/^[0-9a-f]{32}$/u);
const count = z.int().min(0);
const volumeUid = hex32.transform(asVolumeUid);
const snapshotUid = hex32.transform(asSnapshotUid);
const epoch = count.transform(asEpoch);
const seq = count.transform(asSeq);
const position = { epoch, seq };

/** `undefined` travels as an absent key; the transform keeps the key in the type. */
function present<T>(schema: z.ZodType<T>) {
  return schema.optional().transform((value) => value);
}

const transportRequest = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("nbd"), socketPath: z.string().startsWith("/").optional() }),
  z.object({ kind: z.literal("ublk"), depth: z.int().min(1).max(4096).optional() }),
]);

/** What each method takes. */
export const requestSchemas = {
  status: z.object({}),
  attach: z.object({ name, transport: transportRequest, policy: volumePolicySchema }),
  detach: z.object({ name, force: z.boolean() }),
  snapshot: z.object({ name, snapshot: name, uid: present(snapshotUid) }),
  grow: z.object({ name, sizeBytes: count }),
} as const satisfies Record<Method, z.ZodType>;

const transportInfo = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("nbd"), socketPath: z.string(), uri: z.string() }),
  z.object({ kind: z.literal("ublk"), deviceId: z.int(), devicePath: z.string() }),
]);

const shownFault = present(z.object({ code: z.string(), message: z.string() }));

const attachedVolume: z.ZodType<AttachedVolume> = z.object({
  uid: volumeUid,
  name,
  epoch: count,
  durability: z.enum(["local", "s3"]),
  uploadedBytes: count,
  strandedJournal: present(z.string()),
  fault: shownFault,
  trouble: shownFault,
  transport: transportInfo.nullable(),
  sizeBytes: count,
  dirtyBytes: count,
  dirtyAgeMs: z.number(),
  unbatchedBytes: count,
  journalUsedBytes: count,
  journalCapacityBytes: count,
  journalIndexBytes: count,
  mapBytes: count,
  mapExtents: count,
  reads: count,
  writes: count,
  flushes: count,
  discards: count,
  readBytes: count,
  writtenBytes: count,
  fetches: count,
  held: count,
  ioErrors: count,
  committedEpoch: count,
  committedSeq: count,
  // Engines before it do not say; in a rollout they are asked too.
  journalEnd: count.default(0),
  replayedRecords: count,
});

const waitingVolume = z.object({
  name,
  uid: volumeUid,
  fault: z.object({ code: z.string(), message: z.string() }),
});

/** Outcomes of a newer release are shown as they are named there. */
const handoffReport = z.object({
  outcome: z.string(),
  generation: count,
  reason: present(z.string()),
  peerBuild: z.string(),
  phasesMs: z.record(z.string(), z.number()),
  devices: z.array(
    z.object({
      uid: z.string(),
      transport: z.enum(["nbd", "ublk"]),
      stallUs: z.number(),
      phasesUs: z.record(z.string(), z.number()),
    }),
  ),
  worstStallUs: z.number(),
  endedAtMs: z.number(),
});

const engineStatus: z.ZodType<EngineStatus> = z.object({
  store: z.string(),
  volumes: z.array(attachedVolume),
  // An engine of an earlier release does not tell.
  waiting: z.array(waitingVolume).default([]),
  cache: z.object({
    ramHits: count,
    fileHits: count,
    misses: count,
    ramBytes: count,
    fileBytes: count,
    corrupt: count,
  }),
  handoff: handoffReport.nullable().default(null),
});

const snapshotRecord: z.ZodType<SnapshotRecord> = z.object({
  format: z.literal(1),
  uid: snapshotUid,
  name,
  volume: volumeUid,
  position: z.object(position),
  checkpoint: z.object({ volume: volumeUid, ...position }),
  sizeBytes: count,
  createdAtMs: count,
  nonce: hex32.transform(asNonce),
});

/** What each method answers; `null` is "done". */
export const resultSchemas = {
  status: engineStatus,
  attach: attachedVolume,
  detach: z.null(),
  snapshot: snapshotRecord,
  grow: z.null(),
} as const satisfies Record<Method, z.ZodType>;

/** A code of a newer peer shows as `internal`: its sentence still says what to do. */
const faultCode = z
  .string()
  .transform((code): FaultCode => (isFaultCode(code) ? code : "internal"));
const faultDetails = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));
const fault = z.object({ code: faultCode, message: z.string(), details: faultDetails });

export const answerLine = z.union([
  z.object({ progress: z.object({ dirtyBytes: count }) }),
  z.object({ fault }),
  z.object({ result: z.unknown() }),
]);
export type AnswerLine = z.output<typeof answerLine>;

export function isMethod(text: string): text is Method {
  return METHODS.some((method) => method === text);
}

/**
 * A fault as it travels. What is not a WeirError is a defect: its text stays in the engine's log.
 */
export function faultLine(cause: unknown): AnswerLine {
  const fault =
    cause instanceof WeirError
      ? cause
      : new WeirError("internal", "the engine failed unexpectedly: see its log");
  return { fault: { code: fault.code, message: fault.message, details: withoutUndefined(fault) } };
}

function withoutUndefined({ details }: WeirError): Record<string, string | number | boolean> {
  const kept: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(details)) {
    if (value !== undefined) kept[key] = value;
  }
  return kept;
}

function isFaultCode(code: string): code is FaultCode {
  return Object.hasOwn(FAULTS, code);
}
