// What reconcilers of both kinds write: finalizers under the version they were read at, and status
// as the operator's part of it.
import { unreachable } from "../../core/runtime/assert.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { Kind, KubeApi, KubeObject, Written } from "../../core/kube/kube-api.ts";
import { DATA_FINALIZER } from "../../crds/common-fields.ts";
import { OPERATOR_MANAGER } from "../driver.ts";
import type { Shown } from "../volume-state.ts";

/** The object moved on, so the plan is not that of the present: look again soon. */
export class Outdated extends Error {}

/** The new version of the object is on its way to us. */
export const OUTDATED_MS = 200;
/** For what no change of an object tells of. */
export const LOOK_AGAIN_MS = 5_000;

interface Target<T extends KubeObject> {
  readonly api: KubeApi;
  readonly kind: Kind<T>;
  readonly object: T;
  readonly signal: AbortSignal;
}

export async function addFinalizer<T extends KubeObject>(target: Target<T>): Promise<void> {
  await setFinalizers(target, [...(target.object.metadata.finalizers ?? []), DATA_FINALIZER]);
}

export async function removeFinalizer<T extends KubeObject>(target: Target<T>): Promise<void> {
  const present = target.object.metadata.finalizers ?? [];
  await setFinalizers(
    target,
    present.filter((name) => name !== DATA_FINALIZER),
  );
}

async function setFinalizers<T extends KubeObject>(
  { api, kind, object, signal }: Target<T>,
  finalizers: readonly string[],
): Promise<void> {
  const { name, resourceVersion } = object.metadata;
  const patch = { metadata: { resourceVersion, finalizers } };
  refuseOutdated(
    await api.merge(kind, { name }, patch, { signal }),
    `finalizers of a ${kind.kind}`,
  );
}

/** An object that is gone, or another by now, needs no status of ours. */
export async function applyStatus<T extends KubeObject>(
  { api, kind, object, signal }: Target<T>,
  status: object,
): Promise<void> {
  const metadata = { name: object.metadata.name, uid: object.metadata.uid };
  const how = { fieldManager: OPERATOR_MANAGER, force: true, status: true };
  const written = await api.apply(kind, { metadata, status }, how, { signal });
  if (written.kind === "invalid") refuseOutdated(written, `status of a ${kind.kind}`);
}

export function refuseOutdated(written: Written<KubeObject>, what: string): void {
  switch (written.kind) {
    case "written":
      return;
    case "conflict":
    case "absent":
      throw new Outdated();
    case "invalid":
      throw new WeirError("internal", `the API server refused the ${what}`, {
        details: { problem: written.message },
      });
    default:
      unreachable(written);
  }
}

/** With the details: a condition has no other place for them. */
export function shownFault({ code, message, details }: WeirError): Shown {
  const known = Object.entries(details).filter(([, value]) => value !== undefined);
  if (known.length === 0) return { code, message };
  return { code, message: `${message} (${known.map((pair) => pair.join(": ")).join(", ")})` };
}
