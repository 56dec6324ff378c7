// The facts about a Volume: from the copies of what the API server has, and, only while the volume
// is not ready, from the bucket.
import { getVolume } from "../../../core/log/catalog.ts";
import type { LogContext } from "../../../core/log/context.ts";
import type { VolumeRecord } from "../../../core/log/records.ts";
import type { PersistentVolume } from "../../../core/kube/kinds.ts";
import { hasCondition } from "../../../crds/conditions.ts";
import type { Snapshot } from "../../../crds/snapshot.ts";
import type { Volume } from "../../../crds/volume.ts";
import { DRIVER } from "../../../core/csi/driver.ts";
import { cloneSnapshotName, volumeUidOf } from "../../names.ts";
import type { OperatorParts } from "../../parts.ts";
import { isDeleting, isReady } from "../../volume-state.ts";
import type { VolumeFacts } from "./policy.ts";

/** Long enough for a hiccup; a longer outage belongs into a condition. */
const STORE_PATIENCE_MS = 20_000;

/** What a copy of the PersistentVolumes offers: a Reflector. */
export interface PersistentVolumes {
  items(): readonly PersistentVolume[];
}

export function logContext(
  { store, clock, random, scans }: Pick<OperatorParts, "store" | "clock" | "random" | "scans">,
  signal: AbortSignal,
): LogContext {
  return { store, clock, random, scans, signal, patienceMs: STORE_PATIENCE_MS };
}

export async function gatherVolume(options: {
  readonly parts: OperatorParts;
  readonly persistentVolumes: PersistentVolumes;
  readonly volume: Volume;
  readonly signal: AbortSignal;
}): Promise<VolumeFacts> {
  const { parts, persistentVolumes, volume, signal } = options;
  const { name } = volume.metadata;
  const { source } = volume.spec;
  const backend = parts.backend.fault;
  const isOpen = !isReady(volume) && !isDeleting(volume) && backend === undefined;
  return {
    volume,
    backend,
    record: isOpen ? await recordOf(parts, volume, signal) : undefined,
    sourceSnapshot: parts.snapshots.get(sourceSnapshotName(volume) ?? ""),
    sourceVolume:
      source !== undefined && "volume" in source ? parts.volumes.get(source.volume) : undefined,
    snapshotNames: parts.snapshots
      .items()
      .filter((snapshot) => snapshot.spec.volume === name && needsData(snapshot))
      .map((snapshot) => snapshot.metadata.name)
      .toSorted(),
    persistentVolumeNames: referringTo(persistentVolumes, name),
  };
}

/** The Snapshot whose changes concern the volume. */
export function sourceSnapshotName({ metadata, spec }: Volume): string | undefined {
  if (spec.source === undefined) return undefined;
  return "snapshot" in spec.source ? spec.source.snapshot : cloneSnapshotName(metadata);
}

export function handleOf({ spec }: PersistentVolume): string | undefined {
  return spec.csi?.driver === DRIVER ? spec.csi.volumeHandle : undefined;
}

export function referringTo(volumes: PersistentVolumes, handle: string): readonly string[] {
  return volumes
    .items()
    .filter((volume) => handleOf(volume) === handle)
    .map((volume) => volume.metadata.name)
    .toSorted();
}

/** It is in the bucket, or a node may be taking it. */
function needsData({ status }: Snapshot): boolean {
  const isTaken = hasCondition(status?.conditions, { type: "Taken", status: "True" });
  return isTaken || (status?.node ?? "") !== "";
}

function recordOf(
  parts: OperatorParts,
  volume: Volume,
  signal: AbortSignal,
): Promise<VolumeRecord | undefined> {
  return getVolume({ ...logContext(parts, signal), uid: volumeUidOf(volume.metadata) });
}
