// What a Volume's or Snapshot's object says about it, read in one place: the CSI service, the
// reconcilers and the PersistentVolumes must agree.
import { FAULTS, WeirError, type FaultCode } from "../core/runtime/errors.ts";
import { DATA_FINALIZER } from "../crds/common-fields.ts";
import { findCondition, hasCondition, type Condition } from "../crds/conditions.ts";
import { quantityBytes } from "../crds/quantity.ts";
import type { Volume, VolumeSpec } from "../crds/volume.ts";

export interface Stated {
  readonly metadata: {
    readonly deletionTimestamp?: string | undefined;
    readonly finalizers?: readonly string[] | undefined;
    readonly generation?: number | undefined;
  };
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
}

export function isDeleting({ metadata }: Stated): boolean {
  return metadata.deletionTimestamp !== undefined;
}

export function hasFinalizer({ metadata }: Stated): boolean {
  return metadata.finalizers?.includes(DATA_FINALIZER) ?? false;
}

export function isReady({ status }: Stated): boolean {
  return hasCondition(status?.conditions, { type: "Ready", status: "True" });
}

/** What a program needs to know of a fault to show it elsewhere. */
export interface Shown {
  readonly code: FaultCode;
  readonly message: string;
}

/**
 * Why the object will not become ready by waiting; undefined while it may. Only a statement about
 * the present spec counts.
 */
export function finalFault({ metadata, status }: Stated): WeirError | undefined {
  const ready = findCondition(status?.conditions, "Ready");
  if (ready?.status !== "False" || ready.observedGeneration !== metadata.generation)
    return undefined;
  const code = codeOf(ready.reason);
  if (code === undefined || FAULTS[code].retryable) return undefined;
  return new WeirError(code, ready.message);
}

export function codeOf(reason: string): FaultCode | undefined {
  const codes = Object.keys(FAULTS).filter(isFaultCode);
  return codes.find((code) => FAULTS[code].reason === reason);
}

export function attachedNode({ status }: Volume): string | undefined {
  const node = status?.node ?? "";
  return node === "" ? undefined : node;
}

export function sizeBytesOf(volume: Volume): number {
  return quantityBytes(volume.spec.size);
}

/** What the node needs to serve the volume; the keys are part of the contract with csi-node. */
export function volumeContextOf(
  spec: Pick<VolumeSpec, "durability" | "maxDirtyAge">,
): Record<string, string> {
  const { durability, maxDirtyAge } = spec;
  return {
    "weir.storage/durability": durability,
    ...(maxDirtyAge === undefined ? {} : { "weir.storage/maxDirtyAge": maxDirtyAge }),
  };
}

function isFaultCode(code: string): code is FaultCode {
  return Object.hasOwn(FAULTS, code);
}
