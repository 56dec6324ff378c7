// NodeStageVolume and NodeUnstageVolume: from "assigned to this node" to a mounted filesystem (or a
// device) that publishes share, and back until nothing of the volume is on this node any more.
//
// Crash anywhere: the next call finds what is mounted and what the engine serves, and goes on from
// there. A device is only ever formatted when it is empty, or when a mark on it says that a format
// of ours was broken off (format-mark.ts).
import type {
  NodeStageVolumeRequest,
  NodeUnstageVolumeRequest,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { EngineApi } from "../control/engine-api.ts";
import type { VolumePolicy } from "../engine/config.ts";
import { isMountOf, mountsAt, type FilesystemType, type Mount, type Mounter } from "./mounter.ts";
import {
  absolutePath,
  isReadOnly,
  parsePolicy,
  parseUse,
  required,
  type FilesystemUse,
  type VolumeUse,
} from "./requests.ts";
import {
  asServed,
  notTakenUp,
  servedVolume,
  type NodeParts,
  type ServedVolume,
} from "./served-volume.ts";

export interface StageOptions {
  readonly volumeId: string;
  readonly stagingPath: string;
  readonly use: VolumeUse;
  readonly policy: VolumePolicy;
}

export function parseStage(request: NodeStageVolumeRequest): StageOptions {
  return {
    volumeId: required(request.volumeId, "volume_id"),
    stagingPath: absolutePath(request.stagingTargetPath, "staging_target_path"),
    use: parseUse(request.volumeCapability),
    policy: parsePolicy(request.volumeContext),
  };
}

export async function stage(
  parts: NodeParts,
  options: StageOptions,
  signal: AbortSignal,
): Promise<void> {
  const { volumeId: name, use, policy, stagingPath } = options;
  const transport = { kind: "ublk" } as const;
  const attached = await parts.engine.attach({ name, transport, policy }, { signal });
  const volume = await asServed(parts, attached, signal);
  if (use.kind !== "filesystem") {
    await cleanBlock(parts.mounter, volume);
    return;
  }
  await mountStaged(parts.mounter, { volume, use, stagingPath });
  // Also when it was mounted before: a former try may have ended here.
  await growStaged(parts.mounter, { volume, use, stagingPath });
}

/** From now on its bytes are a pod's, so what no pod ever used must not be among them. */
async function cleanBlock(mounter: Mounter, { devicePath }: ServedVolume): Promise<void> {
  const { kind } = await mounter.content(devicePath);
  if (kind === "unfinished") await mounter.erase(devicePath);
}

interface StagedFilesystem {
  readonly volume: ServedVolume;
  readonly use: FilesystemUse;
  readonly stagingPath: string;
}

/** Resolves to whether it had to be mounted. */
export async function mountStaged(
  mounter: Mounter,
  options: StagedFilesystem,
): Promise<"mounted" | "present"> {
  const { volume, use, stagingPath } = options;
  const { devicePath } = volume;
  const present = (await mountsAt(mounter, stagingPath)).at(-1);
  if (present === undefined) {
    await mounter.makeDirectory(stagingPath);
    await ensureFilesystem(mounter, { volume, fsType: use.fsType });
    await mountRepaired(mounter, { devicePath, stagingPath, use });
    return "mounted";
  }
  if (present.device !== volume.device.number || present.fsType !== use.fsType) {
    throw new WeirError(
      "conflict",
      "something else is mounted at the staging path: unmount it on this node",
      { details: { stagingPath, device: present.device, fsType: present.fsType } },
    );
  }
  return "present";
}

/** The volume may have grown while it was away, or come from a smaller snapshot. */
export async function growStaged(mounter: Mounter, options: StagedFilesystem): Promise<void> {
  const { volume, use, stagingPath } = options;
  if (isReadOnly(use)) return;
  const { devicePath } = volume;
  await mounter.grow({ devicePath, fsType: use.fsType, mountPoint: stagingPath });
}

async function ensureFilesystem(
  mounter: Mounter,
  { volume, fsType }: { readonly volume: ServedVolume; readonly fsType: FilesystemType },
): Promise<void> {
  const { devicePath, volumeId } = volume;
  const content = await mounter.content(devicePath);
  if (content.kind === "empty" || content.kind === "unfinished") {
    await mounter.format({ devicePath, fsType });
    return;
  }
  if (content.kind === "unknown") {
    throw new WeirError(
      "in-use",
      `the volume has data that is no filesystem: use volumeMode Block, or erase it by hand`,
      { details: { volumeId, found: content.what } },
    );
  }
  if (content.fsType === fsType) return;
  throw new WeirError(
    "in-use",
    `the volume has another filesystem than is asked for: set fsType to ${content.fsType}`,
    { details: { volumeId, fsType } },
  );
}

/** A filesystem that asks for a check gets the one that needs no decision, and a second try. */
async function mountRepaired(
  mounter: Mounter,
  options: {
    readonly devicePath: string;
    readonly stagingPath: string;
    readonly use: FilesystemUse;
  },
): Promise<void> {
  const { devicePath, stagingPath: target, use } = options;
  const { fsType } = use;
  const mount = { devicePath, target, fsType, options: mountOptions(use) };
  try {
    await mounter.mount(mount);
  } catch (cause) {
    if (!(cause instanceof WeirError) || !DAMAGED.test(cause.message)) throw cause;
    await mounter.repair({ devicePath, fsType });
    await mounter.mount(mount);
  }
}

/** What mount(8) says of EUCLEAN and EFSBADCRC. */
const DAMAGED = /needs cleaning|bad message/iu;

export function mountOptions({ fsType, mountFlags }: FilesystemUse): string[] {
  // A clone has its source's UUID, which xfs refuses to mount twice.
  const wanted = new Set([...mountFlags, ...(fsType === "xfs" ? ["nouuid"] : [])]);
  const all = [...wanted].filter((option) => option !== "");
  const isContext = (option: string): boolean => option.startsWith("context=");
  // A context may contain commas, so mount(8) wants it last.
  return [...all.filter((option) => !isContext(option)), ...all.filter(isContext)];
}

export function parseUnstage(request: NodeUnstageVolumeRequest) {
  return {
    volumeId: required(request.volumeId, "volume_id"),
    stagingPath: absolutePath(request.stagingTargetPath, "staging_target_path"),
  };
}

/**
 * Answers only when everything is in the bucket and nothing of the volume is left here: what
 * follows is its attachment to another node.
 */
export async function unstage(
  parts: NodeParts,
  options: { readonly volumeId: string; readonly stagingPath: string },
  signal: AbortSignal,
): Promise<void> {
  const { mounter, engine } = parts;
  const { volumeId, stagingPath } = options;
  const devicePath = await whereServed(parts, options, signal);
  const device = devicePath === undefined ? undefined : await mounter.device(devicePath);
  // A refused unstage must leave the volume staged: a publish may follow.
  if (devicePath !== undefined && device !== undefined) {
    await refusePublished(mounter, { volumeId, stagingPath, devicePath, device });
  }
  await unmountAll(mounter, stagingPath);
  // Mounted in another namespace, or not written back yet: whoever holds it would lose data.
  if (devicePath !== undefined && (await mounter.isHeld(devicePath))) throw stillUsed(volumeId);
  await detach(engine, volumeId, signal);
}

/** Every mount there, the topmost first. */
export async function unmountAll(mounter: Mounter, path: string): Promise<void> {
  const { length } = await mountsAt(mounter, path);
  for (let left = length; left > 0; left -= 1) await mounter.unmount(await mounter.canonical(path));
}

async function whereServed(
  { engine, mounter }: NodeParts,
  { volumeId, stagingPath }: { readonly volumeId: string; readonly stagingPath: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const { volumes, waiting } = await engine.status({ signal });
  const late = waiting.find(({ name }) => name === volumeId);
  // Its device hangs until it is taken up, and an unmount with it; a fenced one has ended.
  if (late !== undefined && late.fault.code !== "fenced") {
    // Deleted while this node was away: the engine knows whether a device waits for it.
    const isDeleted = late.fault.code === "not-found";
    const mounts = await mountsAt(mounter, stagingPath);
    if (!isDeleted || mounts.length > 0) throw notTakenUp(late.fault);
  }
  const served = volumes.find(({ name }) => name === volumeId);
  return served?.transport?.kind === "ublk" ? served.transport.devicePath : undefined;
}

async function refusePublished(
  mounter: Mounter,
  volume: Pick<ServedVolume, "volumeId" | "devicePath" | "device"> & {
    readonly stagingPath: string;
  },
): Promise<void> {
  const { volumeId, stagingPath } = volume;
  const [table, staged] = await Promise.all([mounter.mounts(), mounter.canonical(stagingPath)]);
  const isOther = (mount: Mount): boolean =>
    mount.mountPoint !== staged && isMountOf(volume, mount);
  if (table.some(isOther)) throw stillUsed(volumeId);
}

function stillUsed(volumeId: string): WeirError {
  return new WeirError(
    "aborted",
    "a filesystem of the volume is still mounted or writes back: it is waited for",
    { details: { volumeId } },
  );
}

async function detach(engine: EngineApi, name: string, signal: AbortSignal): Promise<void> {
  try {
    await engine.detach({ name, force: false }, { signal });
  } catch (cause) {
    if (cause instanceof WeirError && cause.code === "not-found") return;
    throw cause;
  }
}

/** For publishes: the volume as this node serves it, or what is to be done first. */
export async function stagedVolume(
  parts: NodeParts,
  volumeId: string,
  signal: AbortSignal,
): Promise<ServedVolume> {
  const volume = await servedVolume(parts, volumeId, signal);
  if (volume !== undefined) return volume;
  throw new WeirError(
    "in-use",
    "the volume is not staged on this node: delete the pod so that kubelet stages it anew",
    { details: { volumeId } },
  );
}
