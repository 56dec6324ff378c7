// Which objects a change of another one concerns. A change that is missed here costs seconds, not
// correctness: whatever waits looks again by itself.
import type { PersistentVolume } from "../../core/kube/kinds.ts";
import type { Snapshot } from "../../crds/snapshot.ts";
import type { Volume } from "../../crds/volume.ts";
import { ANNOTATIONS, CLONE_LABEL } from "../driver.ts";
import { isDeleting, isReady } from "../volume-state.ts";
import { handleOf, sourceSnapshotName } from "./volume/gather.ts";

interface Copy<T> {
  get(key: string): T | undefined;
  items(): readonly T[];
}

export interface Copies {
  readonly volumes: Copy<Volume>;
  readonly snapshots: Copy<Snapshot>;
}

/** Volumes that wait for another Volume: clones of it. */
export function volumesForVolume({ volumes }: Copies, changed: string): readonly string[] {
  return volumes
    .items()
    .filter(({ spec }) => spec.source !== undefined && "volume" in spec.source)
    .filter((volume) => !isReady(volume) && clonedFrom(volume) === changed)
    .map(({ metadata }) => metadata.name);
}

/** Volumes that wait for a Snapshot: clones of it, and its volume when that is to go. */
export function volumesForSnapshot(
  { volumes, snapshots }: Copies,
  changed: string,
): readonly string[] {
  const snapshot = snapshots.get(changed);
  // Gone: whose it was is no longer known.
  const owner = snapshot === undefined ? [] : [snapshot.spec.volume];
  const clone = snapshot?.metadata.labels?.[CLONE_LABEL];
  return [
    ...owner,
    ...(clone === undefined ? [] : [clone]),
    ...volumes
      .items()
      .filter((volume) =>
        snapshot === undefined
          ? isDeleting(volume)
          : !isReady(volume) && sourceSnapshotName(volume) === changed,
      )
      .map(({ metadata }) => metadata.name),
  ];
}

/** Snapshots that wait for a Volume: to be ready, to be unmarked, or, as its clone, to be gone. */
export function snapshotsForVolume(
  { volumes, snapshots }: Copies,
  changed: string,
): readonly string[] {
  const holder = volumes.get(changed)?.metadata.annotations?.[ANNOTATIONS.openedFor];
  return [
    ...(holder === undefined ? [] : [holder]),
    ...snapshots
      .items()
      .filter((snapshot) => {
        if (isDeleting(snapshot)) return volumes.get(changed) === undefined;
        return snapshot.spec.volume === changed && !isReady(snapshot);
      })
      .map(({ metadata }) => metadata.name),
  ];
}

/** The Volume that a PersistentVolume stands for; by name when it is gone. */
export function volumesForPersistentVolume(
  present: PersistentVolume | undefined,
  changed: string,
): readonly string[] {
  const handle = present === undefined ? changed : handleOf(present);
  return handle === undefined ? [] : [handle];
}

function clonedFrom({ spec }: Volume): string | undefined {
  return spec.source !== undefined && "volume" in spec.source ? spec.source.volume : undefined;
}
