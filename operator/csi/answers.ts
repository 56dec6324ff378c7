// Volumes and Snapshots in the words of CSI.
import {
  Snapshot as CsiSnapshot,
  Volume as CsiVolume,
  type VolumeContentSource,
} from "../../core/csi/generated/csi.ts";
import { parseIsoTime } from "../../core/runtime/iso-time.ts";
import { quantityBytes } from "../../crds/quantity.ts";
import type { Snapshot } from "../../crds/snapshot.ts";
import type { Volume } from "../../crds/volume.ts";
import { attachedNode, isReady, sizeBytesOf, volumeContextOf } from "../volume-state.ts";

export function volumeAnswer(volume: Volume): CsiVolume {
  const { source } = volume.spec;
  return CsiVolume.fromPartial({
    volumeId: volume.metadata.name,
    capacityBytes: BigInt(sizeBytesOf(volume)),
    volumeContext: volumeContextOf(volume.spec),
    ...(source === undefined ? {} : { contentSource: sourceAnswer(source) }),
  });
}

export function publishedNodes(volume: Volume): { publishedNodeIds: string[] } {
  const node = attachedNode(volume);
  return { publishedNodeIds: node === undefined ? [] : [node] };
}

/**
 * The time is that of the object: CSI wants one that never changes, from the first answer on, when
 * the cut may still be ahead. So the snapshot holds at least what was written until then.
 */
export function snapshotAnswer(snapshot: Snapshot): CsiSnapshot {
  const { metadata, spec, status } = snapshot;
  const { creationTimestamp } = metadata;
  return CsiSnapshot.fromPartial({
    snapshotId: metadata.name,
    sourceVolumeId: spec.volume,
    sizeBytes: BigInt(status?.size === undefined ? 0 : quantityBytes(status.size)),
    ...(creationTimestamp === undefined ? {} : { creationTime: parseIsoTime(creationTimestamp) }),
    readyToUse: isReady(snapshot),
  });
}

function sourceAnswer(source: NonNullable<Volume["spec"]["source"]>): VolumeContentSource {
  return "snapshot" in source
    ? { type: { $case: "snapshot", value: { snapshotId: source.snapshot } } }
    : { type: { $case: "volume", value: { volumeId: source.volume } } };
}
