// NodePublishVolume and NodeUnpublishVolume: the staged filesystem, or the device, at the path that
// a pod sees.
//
// kubelet may publish without a working stage, after a reboot or a race: a bind of the bare
// staging directory would give the pod the node's root disk. So the identity of what is staged is
// checked before the bind, and of what is bound after it.
import type {
  NodePublishVolumeRequest,
  NodeUnpublishVolumeRequest,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { isMountOf, mountsAt, type Mount, type Mounter } from "./mounter.ts";
import { absolutePath, isReadOnly, parseUse, required, type VolumeUse } from "./requests.ts";
import type { NodeParts, ServedVolume } from "./served-volume.ts";
import { growStaged, mountStaged, stagedVolume, unmountAll } from "./stage.ts";

export interface PublishOptions {
  readonly volumeId: string;
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly readOnly: boolean;
  readonly use: VolumeUse;
}

export function parsePublish(request: NodePublishVolumeRequest): PublishOptions {
  const volumeId = required(request.volumeId, "volume_id");
  const targetPath = absolutePath(request.targetPath, "target_path");
  const use = parseUse(request.volumeCapability);
  return {
    volumeId,
    targetPath,
    use,
    stagingPath: absolutePath(request.stagingTargetPath, "staging_target_path"),
    readOnly:
      request.readonly || use.access.readOnly || (use.kind === "filesystem" && isReadOnly(use)),
  };
}

export async function publish(
  parts: NodeParts,
  options: PublishOptions,
  signal: AbortSignal,
): Promise<void> {
  const { mounter } = parts;
  const { stagingPath, targetPath, use, readOnly } = options;
  const volume = await stagedVolume(parts, options.volumeId, signal);
  const present = (await mountsAt(mounter, targetPath)).at(-1);
  if (present !== undefined) {
    await checkPublished(mounter, { volume, present, targetPath, readOnly, use });
    return;
  }
  if (use.access.exclusive) await refuseSecond(mounter, { volume, stagingPath });
  if (use.kind === "filesystem") {
    // It is this node's volume, so a staging that a reboot undid can be done again here.
    const staged = { volume, use, stagingPath };
    if ((await mountStaged(mounter, staged)) === "mounted") await growStaged(mounter, staged);
    await mounter.makeDirectory(targetPath);
    await bindChecked(mounter, { volume, source: stagingPath, targetPath, readOnly, use });
  } else {
    await mounter.makeFile(targetPath);
    await bindChecked(mounter, { volume, source: volume.devicePath, targetPath, readOnly, use });
  }
}

/** Publishing again is fine when it is the same. */
async function checkPublished(
  mounter: Mounter,
  options: {
    readonly volume: ServedVolume;
    readonly present: Mount;
    readonly targetPath: string;
    readonly readOnly: boolean;
    readonly use: VolumeUse;
  },
): Promise<void> {
  const { volume, present, targetPath, readOnly, use } = options;
  const isSame = await leadsToVolume(mounter, { volume, targetPath, mount: present, use });
  // A device node's own mount says nothing about who may write to the device.
  if (isSame && (use.kind === "block" || present.readOnly === readOnly)) return;
  throw new WeirError(
    "conflict",
    isSame
      ? "the volume is published there with other options: unpublish it first"
      : "something else is mounted at the target path: unmount it on this node",
    { details: { targetPath, device: present.device } },
  );
}

async function leadsToVolume(
  mounter: Mounter,
  options: {
    readonly volume: ServedVolume;
    readonly targetPath: string;
    readonly mount: Mount;
    readonly use: VolumeUse;
  },
): Promise<boolean> {
  const { volume, targetPath, mount, use } = options;
  if (use.kind === "filesystem") return mount.device === volume.device.number;
  return (await mounter.device(targetPath))?.number === volume.device.number;
}

async function bindChecked(
  mounter: Mounter,
  options: {
    readonly volume: ServedVolume;
    readonly source: string;
    readonly targetPath: string;
    readonly readOnly: boolean;
    readonly use: VolumeUse;
  },
): Promise<void> {
  const { volume, source, targetPath, readOnly, use } = options;
  try {
    await mounter.bind({ source, target: targetPath, readOnly: readOnly && use.kind !== "block" });
    const mount = (await mountsAt(mounter, targetPath)).at(-1);
    if (mount !== undefined && (await leadsToVolume(mounter, { volume, targetPath, mount, use }))) {
      return;
    }
    throw new WeirError("aborted", "the volume was unstaged while it was published: try again", {
      details: { targetPath },
    });
  } catch (cause) {
    // Half a publish must not look like a whole one to the next call.
    await unmountAll(mounter, targetPath);
    await mounter.remove(targetPath);
    throw cause;
  }
}

/** ReadWriteOncePod, and the plain single-node modes: one target path at a time. */
async function refuseSecond(
  mounter: Mounter,
  options: {
    readonly volume: ServedVolume;
    readonly stagingPath: string;
  },
): Promise<void> {
  const { volume, stagingPath } = options;
  const [table, staged] = await Promise.all([mounter.mounts(), mounter.canonical(stagingPath)]);
  const other = table.find(
    (mount) =>
      mount.mountPoint !== staged && !SUBPATH.test(mount.mountPoint) && isMountOf(volume, mount),
  );
  if (other === undefined) return;
  throw new WeirError(
    "in-use",
    "the volume is published at another path of this node, and its access mode allows only one",
    { details: { volumeId: volume.volumeId, path: other.mountPoint } },
  );
}

/** kubelet's own binds of parts of a volume that is published. */
const SUBPATH = /\/volume-subpaths\//u;

export function parseUnpublish(request: NodeUnpublishVolumeRequest) {
  return {
    volumeId: required(request.volumeId, "volume_id"),
    targetPath: absolutePath(request.targetPath, "target_path"),
  };
}

/** Needs neither engine nor bucket. */
export async function unpublish(
  { mounter }: { readonly mounter: Mounter },
  { targetPath }: { readonly targetPath: string },
): Promise<void> {
  await unmountAll(mounter, targetPath);
  await mounter.remove(targetPath);
}
