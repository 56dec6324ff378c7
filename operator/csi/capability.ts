// How a volume may be used: on one node at a time, with a file system or as a block device.
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { Refusal } from "./refusal.ts";

const FILESYSTEMS = ["ext4", "xfs"];

/** Throws `invalid-argument` with the reason unless every one can be honoured. */
export function checkCapabilities(capabilities: readonly VolumeCapability[]): void {
  if (capabilities.length === 0) {
    throw new WeirError("invalid-argument", "volume_capabilities is missing from the request");
  }
  for (const capability of capabilities) checkCapability(capability);
}

export function checkCapability(capability: VolumeCapability | undefined): void {
  if (capability === undefined) {
    throw new WeirError("invalid-argument", "volume_capability is missing from the request");
  }
  const refusal = refusalOf(capability);
  if (refusal !== undefined) throw refusal;
}

/** Why it cannot be honoured. */
export function refusalOf({ accessType, accessMode }: VolumeCapability): WeirError | undefined {
  if (accessType === undefined) {
    return new WeirError("invalid-argument", "the access type of a capability is missing");
  }
  if (accessType.$case === "mount") {
    const { fsType } = accessType.value;
    if (fsType !== "" && !FILESYSTEMS.includes(fsType)) {
      const message = `the filesystem must be one of ${FILESYSTEMS.join(", ")}, not "${fsType}"`;
      return new Refusal("FilesystemUnsupported", message);
    }
  }
  const problem = problemOf(accessMode?.mode ?? Mode.UNKNOWN);
  return problem === undefined ? undefined : new Refusal("AccessModeUnsupported", problem);
}

function problemOf(mode: Mode): string | undefined {
  switch (mode) {
    case Mode.SINGLE_NODE_WRITER:
    case Mode.SINGLE_NODE_SINGLE_WRITER:
    case Mode.SINGLE_NODE_MULTI_WRITER:
    case Mode.SINGLE_NODE_READER_ONLY:
      return undefined;
    case Mode.MULTI_NODE_READER_ONLY:
    case Mode.MULTI_NODE_SINGLE_WRITER:
    case Mode.MULTI_NODE_MULTI_WRITER:
      return "a volume is used by one node at a time: choose ReadWriteOnce or ReadWriteOncePod";
    case Mode.UNKNOWN:
    default:
      return "the access mode of a volume capability is missing or not known";
  }
}
