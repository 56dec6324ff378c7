// NodeGetVolumeStats: what is used of a published volume. Asks nobody but the kernel, so that it
// works while the engine restarts.
import {
  NodeGetVolumeStatsResponse,
  VolumeUsage_Unit as Unit,
  type NodeGetVolumeStatsRequest,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { mountsAt, type Mounter } from "./mounter.ts";
import { required } from "./requests.ts";

export async function volumeStats(
  mounter: Mounter,
  request: NodeGetVolumeStatsRequest,
): Promise<NodeGetVolumeStatsResponse> {
  required(request.volumeId, "volume_id");
  const path = required(request.volumePath, "volume_path");
  const mounts = await mountsAt(mounter, path);
  // A device node is bound, too: only then is it one of ours.
  const device = mounts.length === 0 ? undefined : await mounter.device(path);
  if (device !== undefined) {
    const total = BigInt(device.sizeBytes);
    return NodeGetVolumeStatsResponse.fromPartial({ usage: [{ unit: Unit.BYTES, total }] });
  }
  if (mounts.length === 0) {
    throw new WeirError("not-found", "no volume is published at this path of the node", {
      details: { path },
    });
  }
  const { bytes, inodes } = await mounter.usage(path);
  return NodeGetVolumeStatsResponse.fromPartial({
    usage: [
      { unit: Unit.BYTES, ...bytes },
      { unit: Unit.INODES, ...inodes },
    ],
  });
}
