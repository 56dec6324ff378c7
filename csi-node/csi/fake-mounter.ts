// The node of tests: a mount table, a tree of paths and block devices that behave as the kernel's
// do where the node service relies on it: mounts stack, a bind shows what its source shows, a
// mounted path cannot be removed, a device is held while its filesystem is mounted anywhere.
import { WeirError } from "../../core/runtime/errors.ts";
import { markOffset } from "./format-mark.ts";
import type {
  BlockDevice,
  DeviceContent,
  FilesystemType,
  FilesystemUsage,
  Mount,
  Mounter,
  PathKind,
} from "./mounter.ts";

/** A disk's bytes outlive the device that shows them. */
export interface FakeDisk {
  content: DeviceContent;
  /** What the filesystem uses of it. */
  filesystemBytes: number;
  /** What mount(8) says until a repair. */
  damage?: string;
}

interface FakeBlockDevice extends BlockDevice {
  readonly disk: FakeDisk;
}

/** As the filesystem of /dev numbers itself. */
const DEV_NUMBER = "0:5";
const ROOT_NUMBER = "8:1";

export class FakeMounter implements Mounter {
  readonly #devices = new Map<string, FakeBlockDevice>();
  readonly #kinds = new Map<string, PathKind>([["/", "directory"]]);
  readonly #faults = new Map<keyof Mounter, WeirError>();
  readonly #gates = new Map<keyof Mounter, Promise<void>>();
  #table: Mount[] = [];

  /** What was done to devices and mounts, in order: `format /dev/ublkb0 ext4`. */
  readonly done: string[] = [];
  /** Devices that had a filesystem when they were formatted or erased: never to happen. */
  readonly formattedAway: string[] = [];
  /** Devices that a filesystem in another namespace holds. */
  readonly heldElsewhere = new Set<string>();

  plug(path: string, device: FakeBlockDevice): void {
    this.#devices.set(path, device);
  }

  unplug(path: string): void {
    this.#devices.delete(path);
  }

  /** From now on it has bytes of its own: nothing written to it reaches its disk. */
  cutOff(path: string): void {
    const device = this.#needDevice(path);
    this.#devices.set(path, { ...device, disk: { ...device.disk } });
  }

  /** Something that is not ours. */
  mountForeign(mountPoint: string): void {
    this.#kinds.set(mountPoint, "directory");
    const mount = { device: ROOT_NUMBER, root: "/home", fsType: "ext4", readOnly: false };
    this.#table.push({ ...mount, mountPoint });
  }

  /** The machine stopped and came back: no mounts, no devices, the disk's paths as they were. */
  reboot(): void {
    this.#table = [];
    this.#devices.clear();
  }

  fail(method: keyof Mounter, fault: WeirError | undefined): void {
    if (fault === undefined) this.#faults.delete(method);
    else this.#faults.set(method, fault);
  }

  /** Calls of the method wait until the result is called. */
  hold(method: keyof Mounter): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gates.set(method, promise);
    return () => {
      this.#gates.delete(method);
      resolve();
    };
  }

  /** Every file and directory that was made and not removed. */
  paths(): readonly string[] {
    return [...this.#kinds.keys()];
  }

  async mounts(): Promise<readonly Mount[]> {
    return [...this.#table];
  }

  async canonical(path: string): Promise<string> {
    return path;
  }

  async mount(options: Parameters<Mounter["mount"]>[0]): Promise<void> {
    const { devicePath, target, fsType, options: flags } = options;
    await this.#enter("mount");
    const device = this.#needDevice(devicePath);
    this.#needKind(target, "directory");
    const { content, damage } = device.disk;
    if (damage !== undefined) throw new WeirError("internal", `mount failed: ${damage}`);
    if (content.kind !== "filesystem" || content.fsType !== fsType) {
      throw new WeirError("internal", "mount failed: wrong fs type");
    }
    this.done.push(`mount ${devicePath} ${target} ${flags.join(",")}`.trimEnd());
    const mount = { device: device.number, root: "/", fsType, readOnly: flags.includes("ro") };
    this.#table.push({ ...mount, mountPoint: target });
  }

  async bind(options: Parameters<Mounter["bind"]>[0]): Promise<void> {
    const { source, target, readOnly } = options;
    await this.#enter("bind");
    this.done.push(`bind ${source} ${target}${readOnly ? " ro" : ""}`);
    if (this.#devices.has(source)) {
      this.#needKind(target, "file");
      const root = source.slice(source.lastIndexOf("/"));
      const mount = { device: DEV_NUMBER, root, fsType: "devtmpfs", readOnly };
      this.#table.push({ ...mount, mountPoint: target });
      return;
    }
    this.#needKind(target, "directory");
    const shown = this.#top(source);
    const bare = { device: ROOT_NUMBER, root: source, fsType: "ext4" };
    this.#table.push({ ...(shown ?? bare), readOnly, mountPoint: target });
  }

  async unmount(target: string): Promise<void> {
    await this.#enter("unmount");
    const top = this.#top(target);
    if (top === undefined) throw new WeirError("internal", "umount failed: not mounted");
    this.done.push(`unmount ${target}`);
    this.#table.splice(this.#table.lastIndexOf(top), 1);
  }

  async device(path: string): Promise<BlockDevice | undefined> {
    const bound = this.#top(path);
    const real = bound?.fsType === "devtmpfs" ? `/dev${bound.root}` : path;
    const device = this.#devices.get(real);
    return device === undefined
      ? undefined
      : { number: device.number, sizeBytes: device.sizeBytes };
  }

  async isHeld(devicePath: string): Promise<boolean> {
    const device = this.#devices.get(devicePath);
    const isMounted = this.#table.some((mount) => mount.device === device?.number);
    return isMounted || this.heldElsewhere.has(devicePath);
  }

  async content(devicePath: string): Promise<DeviceContent> {
    await this.#enter("content");
    return this.#needDevice(devicePath).disk.content;
  }

  async format(options: {
    readonly devicePath: string;
    readonly fsType: FilesystemType;
  }): Promise<void> {
    const { devicePath, fsType } = options;
    this.done.push(`format ${devicePath} ${fsType}`);
    const device = this.#needDevice(devicePath);
    if (device.disk.content.kind === "filesystem") this.formattedAway.push(devicePath);
    // What an interrupted format leaves.
    device.disk.content = { kind: "unfinished" };
    await this.#enter("format");
    device.disk.content = { kind: "filesystem", fsType };
    // It gets the rest when it grows.
    device.disk.filesystemBytes = markOffset(device.sizeBytes) ?? 0;
  }

  async erase(devicePath: string): Promise<void> {
    await this.#enter("erase");
    this.done.push(`erase ${devicePath}`);
    const { disk } = this.#needDevice(devicePath);
    if (disk.content.kind === "filesystem") this.formattedAway.push(devicePath);
    disk.content = { kind: "empty" };
  }

  async repair(options: { readonly devicePath: string }): Promise<void> {
    this.done.push(`repair ${options.devicePath}`);
    await this.#enter("repair");
    delete this.#needDevice(options.devicePath).disk.damage;
  }

  async grow(options: { readonly devicePath: string; readonly mountPoint: string }): Promise<void> {
    await this.#enter("grow");
    if (this.#top(options.mountPoint) === undefined) {
      throw new WeirError("internal", "a filesystem grows only while it is mounted");
    }
    const device = this.#needDevice(options.devicePath);
    device.disk.filesystemBytes = device.sizeBytes;
  }

  async usage(path: string): Promise<FilesystemUsage> {
    await this.#enter("usage");
    const number = this.#top(path)?.device;
    const device = [...this.#devices.values()].find((one) => one.number === number);
    const total = BigInt(device?.disk.filesystemBytes ?? 0);
    return {
      bytes: { total, used: 0n, available: total },
      inodes: { total: 100n, used: 1n, available: 99n },
    };
  }

  async kindOf(path: string): Promise<PathKind> {
    return this.#kinds.get(path) ?? "absent";
  }

  async makeDirectory(path: string): Promise<void> {
    this.#kinds.set(path, "directory");
  }

  async makeFile(path: string): Promise<void> {
    this.#kinds.set(path, "file");
  }

  async remove(path: string): Promise<void> {
    if (this.#top(path) !== undefined) {
      throw new WeirError("internal", "a path of this node cannot be made or removed");
    }
    this.#kinds.delete(path);
  }

  async #enter(method: keyof Mounter): Promise<void> {
    await this.#gates.get(method);
    const fault = this.#faults.get(method);
    if (fault !== undefined) throw fault;
  }

  #top(path: string): Mount | undefined {
    return this.#table.findLast(({ mountPoint }) => mountPoint === path);
  }

  #needDevice(path: string): FakeBlockDevice {
    const device = this.#devices.get(path);
    if (device !== undefined) return device;
    throw new WeirError("internal", "there is no such device");
  }

  #needKind(path: string, kind: PathKind): void {
    if (this.#kinds.get(path) === kind) return;
    throw new WeirError("internal", `${path} is no ${kind}`);
  }
}
