// NodeExpandVolume: the device grows while it is in use, then the filesystem on it.
import type { NodeExpandVolumeRequest } from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { mountsAt, type Mount, type Mounter } from "./mounter.ts";
import { required } from "./requests.ts";
import { servedVolume, waitForSize, type NodeParts, type ServedVolume } from "./served-volume.ts";

const BLOCK_BYTES = 4096n;

export interface ExpandOptions {
  readonly volumeId: string;
  /** Staging path, target path or device: kubelet and sidecars pass any of them. */
  readonly volumePath: string;
  readonly isBlock: boolean;
  /** 0: as big as the volume is. */
  readonly sizeBytes: number;
}

export function parseExpand(request: NodeExpandVolumeRequest): ExpandOptions {
  const { requiredBytes = 0n, limitBytes = 0n } = request.capacityRange ?? {};
  const rounded = ((requiredBytes + BLOCK_BYTES - 1n) / BLOCK_BYTES) * BLOCK_BYTES;
  if (requiredBytes < 0n || limitBytes < 0n) {
    throw new WeirError("invalid-argument", "capacity_range must not be negative");
  }
  if (limitBytes > 0n && rounded > limitBytes) {
    throw new WeirError("out-of-range", "a volume's size is a multiple of 4096 bytes", {
      details: { requiredBytes: String(requiredBytes), limitBytes: String(limitBytes) },
    });
  }
  if (rounded > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new WeirError("out-of-range", "a volume cannot be that big");
  }
  return {
    volumeId: required(request.volumeId, "volume_id"),
    volumePath: required(request.volumePath, "volume_path"),
    isBlock: request.volumeCapability?.accessType?.$case === "block",
    sizeBytes: Number(rounded),
  };
}

/** Resolves to the size in bytes that the volume has now. */
export async function expand(
  parts: NodeParts,
  options: ExpandOptions,
  signal: AbortSignal,
): Promise<number> {
  const { mounter, engine } = parts;
  const { volumeId, sizeBytes } = options;
  const volume = await servedVolume(parts, volumeId, signal);
  if (volume === undefined) {
    throw new WeirError("not-found", "the volume is not staged on this node", {
      details: { volumeId },
    });
  }
  const mount = await placeOf(mounter, { ...options, volume });
  const wantedBytes = Math.max(sizeBytes, volume.sizeBytes);
  // Also when the engine has that size already: a former try may not have reached the device.
  if (wantedBytes > volume.device.sizeBytes) {
    await engine.grow({ name: volumeId, sizeBytes: wantedBytes }, { signal });
  }
  const { devicePath } = volume;
  const device = await waitForSize(parts, { devicePath, sizeBytes: wantedBytes, signal });
  if (mount !== undefined) {
    const { fsType, mountPoint } = mount;
    await mounter.grow({ devicePath, fsType, mountPoint });
  }
  return device.sizeBytes;
}

/** The mounted filesystem at the path; `undefined` for a block volume. */
async function placeOf(
  mounter: Mounter,
  options: {
    readonly volume: ServedVolume;
    readonly volumePath: string;
    readonly isBlock: boolean;
  },
): Promise<Mount | undefined> {
  const { volume, volumePath, isBlock } = options;
  const mount = (await mountsAt(mounter, volumePath)).at(-1);
  if (mount?.device === volume.device.number) return mount;
  const device = await mounter.device(volumePath);
  if (device?.number === volume.device.number) return undefined;
  // A block volume's staging path is an empty directory.
  if (isBlock && (await mounter.kindOf(volumePath)) === "directory") return undefined;
  throw new WeirError("not-found", "the volume is not at this path of the node", {
    details: { volumePath },
  });
}
