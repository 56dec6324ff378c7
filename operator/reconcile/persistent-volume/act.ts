// Makes, grows and removes the PersistentVolume of a Volume that asks for one.
import { unreachable } from "../../../core/runtime/assert.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import { PERSISTENT_VOLUME, type PersistentVolume } from "../../../core/kube/kinds.ts";
import type { Outcome } from "../../../core/kube/work-queue.ts";
import { VOLUME, type Volume } from "../../../crds/volume.ts";
import type { OperatorParts } from "../../parts.ts";
import { LOOK_AGAIN_MS, OUTDATED_MS } from "../writing.ts";
import { persistentVolumeName, planPersistentVolume } from "./policy.ts";

export interface PersistentVolumeReconciler {
  readonly parts: Pick<OperatorParts, "api" | "people">;
  /** A copy of the PersistentVolumes: a Reflector. */
  readonly persistentVolumes: { get(name: string): PersistentVolume | undefined };
}

export async function reconcilePersistentVolume(
  { parts, persistentVolumes }: PersistentVolumeReconciler,
  volume: Volume | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  if (volume === undefined) return { kind: "done" };
  const name = persistentVolumeName(volume);
  const plan = planPersistentVolume({ volume, present: persistentVolumes.get(name) });
  switch (plan.kind) {
    case "none":
      return { kind: "done" };
    case "create": {
      const made = await parts.api.create(PERSISTENT_VOLUME, plan.object, { signal });
      if (made.kind === "invalid") throw refused(made.message);
      return { kind: "done" };
    }
    case "grow": {
      const { resourceVersion, size } = plan;
      const patch = { metadata: { resourceVersion }, spec: { capacity: { storage: size } } };
      const written = await parts.api.merge(PERSISTENT_VOLUME, { name }, patch, { signal });
      if (written.kind === "invalid") throw refused(written.message);
      const isDone = written.kind === "written";
      return isDone ? { kind: "done" } : { kind: "again", afterMs: OUTDATED_MS };
    }
    case "delete":
      await parts.api.delete(PERSISTENT_VOLUME, { name, uid: plan.uid }, { signal });
      return { kind: "done" };
    case "taken": {
      const note = `the PersistentVolume "${plan.name}" is not this volume's: delete or rename it`;
      const news = { reason: "NameTaken", note, action: "PublishPersistentVolume" };
      await parts.people.tell({ kind: VOLUME, object: volume }, news, signal);
      return { kind: "again", afterMs: 12 * LOOK_AGAIN_MS };
    }
    default:
      return unreachable(plan);
  }
}

function refused(problem: string): WeirError {
  return new WeirError("internal", "the API server refused a PersistentVolume", {
    details: { problem },
  });
}
