// Takes the snapshots that the operator assigned to this node: of volumes attached here, and of
// volumes attached nowhere, which the engine opens for the moment.
//
// Crash anywhere: the snapshot's name in the bucket carries the object's uid, so taking it again
// gives the same one, and the report is written again.
import { WeirError, FAULTS } from "../../core/runtime/errors.ts";
import { isoSeconds } from "../../core/runtime/iso-time.ts";
import { asSnapshotUid, isHex32 } from "../../core/runtime/ids.ts";
import { logFault, type Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { whenAborted } from "../../core/runtime/timer-signals.ts";
import { Controller } from "../../core/kube/controller.ts";
import type { KubeApi } from "../../core/kube/kube-api.ts";
import { Reflector } from "../../core/kube/reflector.ts";
import type { Outcome } from "../../core/kube/work-queue.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import { hasCondition, nextCondition } from "../../crds/conditions.ts";
import { formatQuantity } from "../../crds/quantity.ts";
import { SNAPSHOT, type Snapshot } from "../../crds/snapshot.ts";
import type { EngineApi } from "../control/engine-api.ts";

/** Of this node's parts of a status, in volumes and snapshots alike. */
export const FIELD_MANAGER = "weir-node";
const CONCURRENCY = 4;
/** Everything dirty is uploaded first. */
const SNAPSHOT_MS = 10 * 60_000;

export interface AgentParts {
  readonly api: KubeApi;
  readonly engine: EngineApi;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Resolves when the signal has ended it. */
export async function runSnapshotAgent(parts: AgentParts, signal: AbortSignal): Promise<void> {
  const { api, nodeName, clock, random, log } = parts;
  const common = { clock, random, log };
  await using reflector = new Reflector({
    ...common,
    api,
    kind: SNAPSHOT,
    fieldSelector: `status.node=${nodeName}`,
  });
  await using _controller = new Controller({
    ...common,
    name: "snapshot",
    concurrency: CONCURRENCY,
    deadlineMs: SNAPSHOT_MS,
    source: reflector,
    reconcile: (key, work) => takeSnapshot(parts, key, work),
  });
  await whenAborted(signal);
}

/**
 * One look at one Snapshot, at the API server and not in the cache: to take one that is no longer
 * this node's to take would open the volume, and fence the node that has it by now.
 */
async function takeSnapshot(parts: AgentParts, key: string, signal: AbortSignal): Promise<Outcome> {
  const snapshot = await parts.api.get(SNAPSHOT, { name: key }, { signal });
  if (snapshot?.status?.node !== parts.nodeName) return { kind: "done" };
  const { conditions } = snapshot.status;
  if (hasCondition(conditions, { type: "Taken", status: "True" })) return { kind: "done" };
  const { name } = snapshot.metadata;
  if (snapshot.metadata.deletionTimestamp !== undefined) {
    const gaveUp = { reason: "Deleting", message: "It was deleted before it was taken." };
    await report(parts, { snapshot, gaveUp }, signal);
    return { kind: "done" };
  }
  const uid = snapshot.metadata.uid.replaceAll("-", "");
  if (!isHex32(uid)) {
    throw new WeirError("internal", "the object has a uid that is no UUID", { details: { name } });
  }
  try {
    const taken = await parts.engine.snapshot(
      { name: snapshot.spec.volume, snapshot: name, uid: asSnapshotUid(uid) },
      { signal },
    );
    await report(parts, { snapshot, taken }, signal);
    return { kind: "done" };
  } catch (cause) {
    if (!(cause instanceof WeirError)) throw cause;
    logFault(parts.log.child({ snapshot: name }), cause, "a snapshot could not be taken");
    const gaveUp = { reason: FAULTS[cause.code].reason, message: cause.message };
    await report(parts, { snapshot, gaveUp }, signal);
    return { kind: "failed" };
  }
}

async function report(
  parts: AgentParts,
  outcome: { readonly snapshot: Snapshot } & (
    | { readonly taken: SnapshotRecord }
    | { readonly gaveUp: { readonly reason: string; readonly message: string } }
  ),
  signal: AbortSignal,
): Promise<void> {
  const { api, clock, log } = parts;
  const { snapshot } = outcome;
  const { name } = snapshot.metadata;
  const content =
    "taken" in outcome
      ? { status: "True" as const, reason: "Taken", message: "The snapshot is in the bucket." }
      : { status: "False" as const, ...outcome.gaveUp };
  const condition = nextCondition({
    present: snapshot.status?.conditions,
    content: { type: "Taken", ...content, observedGeneration: snapshot.metadata.generation },
    now: isoSeconds(clock.wallMs()),
  });
  const facts = "taken" in outcome ? factsOf(outcome.taken) : {};
  const written = await api.apply(
    SNAPSHOT,
    { metadata: { name }, status: { ...facts, conditions: [condition] } },
    { fieldManager: FIELD_MANAGER, force: true, status: true },
    { signal },
  );
  if (written.kind === "written" || written.kind === "absent") return;
  log.error({ snapshot: name, refusal: written.message }, "a snapshot's status was refused");
}

function factsOf({ uid, position, sizeBytes, createdAtMs }: SnapshotRecord): object {
  const { epoch, seq } = position;
  const createdAt = isoSeconds(createdAtMs);
  return { uid, position: { epoch, seq }, size: formatQuantity(sizeBytes), createdAt };
}
