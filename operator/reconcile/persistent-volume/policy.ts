// The PersistentVolume for a Volume that was made by hand and asks for one. It looks like one of
// the provisioner's, so that deleting it does what its reclaim policy says. Decided from facts.
import type { PersistentVolume } from "../../../core/kube/kinds.ts";
import type { Volume } from "../../../crds/volume.ts";
import { DRIVER } from "../../../core/csi/driver.ts";
import { VOLUME_LABEL } from "../../driver.ts";
import { isDeleting, isReady, volumeContextOf } from "../../volume-state.ts";

export interface PersistentVolumeFacts {
  readonly volume: Volume;
  /** The one that has the name we would give. */
  readonly present: PersistentVolume | undefined;
}

export type PersistentVolumePlan =
  | { readonly kind: "none" }
  | { readonly kind: "create"; readonly object: object }
  | { readonly kind: "grow"; readonly resourceVersion: string; readonly size: string }
  | { readonly kind: "delete"; readonly uid: string }
  /** Another volume's has the name. */
  | { readonly kind: "taken"; readonly name: string };

export function planPersistentVolume(facts: PersistentVolumeFacts): PersistentVolumePlan {
  const { volume, present } = facts;
  const isWanted = volume.spec.persistentVolume !== undefined && !isDeleting(volume);
  if (!isWanted) return isUnusedOurs(facts) ? deleted(present) : { kind: "none" };
  if (!isReady(volume)) return { kind: "none" };
  if (present === undefined) return { kind: "create", object: persistentVolumeFor(volume) };
  if (!isOurs(facts)) return { kind: "taken", name: present.metadata.name };
  const { size } = volume.spec;
  // Bound, its capacity is the resizer's: growing it here would hide the claim from it.
  if (present.spec.capacity?.["storage"] === size || isBound(present)) return { kind: "none" };
  return { kind: "grow", resourceVersion: present.metadata.resourceVersion, size };
}

export function persistentVolumeName({ metadata }: Volume): string {
  return metadata.name;
}

function deleted(present: PersistentVolume | undefined): PersistentVolumePlan {
  return present === undefined ? { kind: "none" } : { kind: "delete", uid: present.metadata.uid };
}

function isOurs({ volume, present }: PersistentVolumeFacts): boolean {
  return present?.metadata.labels?.[VOLUME_LABEL] === volume.metadata.name;
}

/** Nobody's data depends on it: the claim that could use it was never bound. */
function isUnusedOurs(facts: PersistentVolumeFacts): boolean {
  const { present } = facts;
  if (present === undefined || !isOurs(facts)) return false;
  return present.metadata.deletionTimestamp === undefined && !isUsed(present);
}

function isBound({ status }: PersistentVolume): boolean {
  return status?.phase === "Bound";
}

function isUsed({ status }: PersistentVolume): boolean {
  return status?.phase === "Bound" || status?.phase === "Released" || status?.phase === "Failed";
}

function persistentVolumeFor(volume: Volume): object {
  const { name } = volume.metadata;
  const wanted = volume.spec.persistentVolume ?? {};
  const volumeMode = wanted.volumeMode ?? "Filesystem";
  const fsType = volumeMode === "Block" ? undefined : (wanted.fsType ?? "ext4");
  return {
    metadata: {
      name: persistentVolumeName(volume),
      labels: { [VOLUME_LABEL]: name },
      annotations: { "pv.kubernetes.io/provisioned-by": DRIVER },
    },
    spec: {
      capacity: { storage: volume.spec.size },
      accessModes: wanted.accessModes ?? ["ReadWriteOnce"],
      persistentVolumeReclaimPolicy: wanted.reclaimPolicy ?? "Retain",
      storageClassName: wanted.storageClassName ?? "",
      volumeMode,
      ...(wanted.claimRef === undefined
        ? {}
        : { claimRef: { apiVersion: "v1", kind: "PersistentVolumeClaim", ...wanted.claimRef } }),
      csi: {
        driver: DRIVER,
        volumeHandle: name,
        ...(fsType === undefined ? {} : { fsType }),
        volumeAttributes: volumeContextOf(volume.spec),
      },
    },
  };
}
