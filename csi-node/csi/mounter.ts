// What the node service needs of the machine: mounts, filesystems, block devices. A port, because
// almost everything that can go wrong on a node goes wrong here: linux-mounter.ts does it, the fake
// of the unit tests imitates it. All faults are WeirError; every method has a time limit of its
// own, so that a hung disk never holds more than its own volume.

/** `major:minor`: what a device is, whatever path leads to it. */
type DeviceNumber = string;

export interface Mount {
  /** Of the filesystem's block device; of no device (`0:N`) for others, such as devtmpfs. */
  readonly device: DeviceNumber;
  /** Which part of the filesystem: `/` unless a folder or file of it is bound. */
  readonly root: string;
  readonly mountPoint: string;
  readonly fsType: string;
  readonly readOnly: boolean;
}

export interface BlockDevice {
  readonly number: DeviceNumber;
  readonly sizeBytes: number;
}

export const FILESYSTEMS = ["ext4", "xfs"] as const;
export type FilesystemType = (typeof FILESYSTEMS)[number];

export type DeviceContent =
  /** No signature, and zeroes at both ends. */
  | { readonly kind: "empty" }
  /** What a format of ours left that was broken off, on whatever node: nobody ever used it. */
  | { readonly kind: "unfinished" }
  | { readonly kind: "filesystem"; readonly fsType: string }
  /** Data whose owner is unknown: never overwritten. `what` names it. */
  | { readonly kind: "unknown"; readonly what: string };

export type PathKind = "absent" | "directory" | "file" | "block-device" | "other";

export interface FilesystemUsage {
  readonly bytes: { readonly total: bigint; readonly used: bigint; readonly available: bigint };
  readonly inodes: { readonly total: bigint; readonly used: bigint; readonly available: bigint };
}

export interface Mounter {
  /** The whole table, oldest first: the last entry of a mount point is the one that is seen. */
  mounts(): Promise<readonly Mount[]>;
  /** The path as the mount table names it: symbolic links in its parent are resolved. */
  canonical(path: string): Promise<string>;
  mount(options: {
    readonly devicePath: string;
    readonly target: string;
    readonly fsType: FilesystemType;
    readonly options: readonly string[];
  }): Promise<void>;
  bind(options: {
    readonly source: string;
    readonly target: string;
    readonly readOnly: boolean;
  }): Promise<void>;
  /** Takes away the topmost mount there. */
  unmount(target: string): Promise<void>;
  /** `undefined` when the path is no block device, or one that the kernel does not have. */
  device(path: string): Promise<BlockDevice | undefined>;
  /** Whether a filesystem is mounted from it, in whatever namespace, or still writes back. */
  isHeld(devicePath: string): Promise<boolean>;
  content(devicePath: string): Promise<DeviceContent>;
  /** What is empty or unfinished. It is unfinished until this resolves, wherever it is opened. */
  format(options: { readonly devicePath: string; readonly fsType: FilesystemType }): Promise<void>;
  /** All of it reads as zeroes afterwards. */
  erase(devicePath: string): Promise<void>;
  /** Repairs what needs no decision; throws when that is not all. */
  repair(options: { readonly devicePath: string; readonly fsType: FilesystemType }): Promise<void>;
  /** Lets a mounted filesystem use all of its device; no effect when it does. */
  grow(options: {
    readonly devicePath: string;
    readonly fsType: string;
    readonly mountPoint: string;
  }): Promise<void>;
  usage(path: string): Promise<FilesystemUsage>;
  kindOf(path: string): Promise<PathKind>;
  /** With its parents. */
  makeDirectory(path: string): Promise<void>;
  /** Empty, with its parents; no effect when it is there. */
  makeFile(path: string): Promise<void>;
  /** A file or an empty directory; no effect when it is absent. */
  remove(path: string): Promise<void>;
}

/** What is mounted exactly there, oldest first. */
export async function mountsAt(mounter: Mounter, path: string): Promise<readonly Mount[]> {
  const [table, place] = await Promise.all([mounter.mounts(), mounter.canonical(path)]);
  return table.filter(({ mountPoint }) => mountPoint === place);
}

export function isFilesystemType(text: string): text is FilesystemType {
  return FILESYSTEMS.some((known) => known === text);
}

/**
 * Whether it shows the device's filesystem, or is a bind of the device node itself, which appears
 * as the file of that name in the filesystem of /dev.
 */
export function isMountOf(
  volume: { readonly devicePath: string; readonly device: BlockDevice },
  mount: Mount,
): boolean {
  if (mount.device === volume.device.number) return true;
  return mount.root !== "/" && volume.devicePath.endsWith(mount.root);
}
