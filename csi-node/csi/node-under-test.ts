// A node for tests: the fake engine's devices appear in the fake mounter, with disks that keep
// their content when they come back as another device.
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { volumePolicySchema } from "../engine/config.ts";
import { FakeEngine } from "../control/fake-engine.ts";
import { FakeMounter, type FakeDisk } from "./fake-mounter.ts";
import type { PublishOptions } from "./publish.ts";
import type { Access, VolumeUse } from "./requests.ts";
import type { StageOptions } from "./stage.ts";

export const GIB = 1024 ** 3;
export const STAGING = "/kubelet/staging/globalmount";

const MULTI: Access = { readOnly: false, exclusive: false };
export const EXT4: VolumeUse = {
  kind: "filesystem",
  access: MULTI,
  fsType: "ext4",
  mountFlags: [],
};
export const BLOCK: VolumeUse = { kind: "block", access: MULTI };

export class NodeUnderTest {
  readonly clock = new FakeClock();
  readonly engine = new FakeEngine();
  readonly mounter = new FakeMounter();
  readonly signal = new AbortController().signal;
  readonly #disks = new Map<string, FakeDisk>();

  constructor() {
    this.engine.onDevice = ({ volume, deviceId, devicePath, sizeBytes }) => {
      const disk = this.disk(volume);
      this.mounter.plug(devicePath, { number: `259:${deviceId}`, sizeBytes, disk });
    };
    this.engine.onDeviceGone = ({ devicePath }) => this.mounter.unplug(devicePath);
    this.engine.create("data", GIB);
  }

  disk(volume: string): FakeDisk {
    const present = this.#disks.get(volume);
    if (present !== undefined) return present;
    const disk: FakeDisk = { content: { kind: "empty" }, filesystemBytes: 0 };
    this.#disks.set(volume, disk);
    return disk;
  }

  stageOptions(changes: Partial<StageOptions> = {}): StageOptions {
    const policy = volumePolicySchema.parse({});
    return { volumeId: "data", stagingPath: STAGING, use: EXT4, policy, ...changes };
  }

  publishOptions(targetPath: string, changes: Partial<PublishOptions> = {}): PublishOptions {
    const common = { volumeId: "data", stagingPath: STAGING, readOnly: false, use: EXT4 };
    return { ...common, targetPath, ...changes };
  }
}
