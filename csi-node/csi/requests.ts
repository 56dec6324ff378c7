// What a request of kubelet means, checked once: paths, how the volume is to be used, and how the
// engine is to serve it. Every mistake is `invalid-argument` with the field's name.
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { durationMs, parseDuration } from "../../crds/quantity.ts";
import { parseConfig, volumePolicySchema, type VolumePolicy } from "../engine/config.ts";
import { FILESYSTEMS, isFilesystemType, type FilesystemType } from "./mounter.ts";

/** As a volume's pods see it. */
export type VolumeUse =
  | { readonly kind: "block"; readonly access: Access }
  | {
      readonly kind: "filesystem";
      readonly access: Access;
      readonly fsType: FilesystemType;
      readonly mountFlags: readonly string[];
    };

export type FilesystemUse = Extract<VolumeUse, { kind: "filesystem" }>;

export interface Access {
  readonly readOnly: boolean;
  /** Only one target path at a time. */
  readonly exclusive: boolean;
}

const PARAMETER_PREFIX = "weir.storage/";

export function required(value: string, field: string): string {
  if (value !== "") return value;
  throw new WeirError("invalid-argument", `${field} is missing from the request`);
}

/** Programs take it as an argument, so it must not look like anything else. */
export function absolutePath(value: string, field: string): string {
  if (required(value, field).startsWith("/") && !value.includes("\0")) return value;
  throw new WeirError("invalid-argument", `${field} must be an absolute path`);
}

export function parseUse(capability: VolumeCapability | undefined): VolumeUse {
  const { accessType, accessMode } = capability ?? {};
  if (accessType === undefined) {
    throw new WeirError("invalid-argument", "volume_capability is missing from the request");
  }
  const access = parseAccess(accessMode?.mode ?? Mode.UNKNOWN);
  if (accessType.$case === "block") return { kind: "block", access };
  const { fsType, mountFlags } = accessType.value;
  return { kind: "filesystem", access, fsType: parseFilesystem(fsType), mountFlags };
}

function parseAccess(mode: Mode): Access {
  switch (mode) {
    case Mode.SINGLE_NODE_WRITER:
    case Mode.SINGLE_NODE_SINGLE_WRITER:
      return { readOnly: false, exclusive: true };
    case Mode.SINGLE_NODE_MULTI_WRITER:
      return { readOnly: false, exclusive: false };
    case Mode.SINGLE_NODE_READER_ONLY:
      return { readOnly: true, exclusive: true };
    case Mode.MULTI_NODE_READER_ONLY:
    case Mode.MULTI_NODE_SINGLE_WRITER:
    case Mode.MULTI_NODE_MULTI_WRITER:
      throw new WeirError(
        "invalid-argument",
        "a volume is used by one node at a time: choose ReadWriteOnce or ReadWriteOncePod",
      );
    case Mode.UNKNOWN:
      break;
  }
  throw new WeirError("invalid-argument", "the access mode is missing or not known");
}

function parseFilesystem(fsType: string): FilesystemType {
  if (fsType === "") return FILESYSTEMS[0];
  if (isFilesystemType(fsType)) return fsType;
  throw new WeirError(
    "invalid-argument",
    `the filesystem must be one of ${FILESYSTEMS.join(", ")}: set it in the StorageClass`,
    { details: { fsType } },
  );
}

/** By the mount options of its StorageClass or PersistentVolume. */
export function isReadOnly(use: FilesystemUse): boolean {
  return use.mountFlags.includes("ro");
}

/** Keys of later releases are ignored: an older node serves what it can. */
export function parsePolicy(context: Readonly<Record<string, string>>): VolumePolicy {
  const durability = context[`${PARAMETER_PREFIX}durability`];
  const maxDirtyAge = context[`${PARAMETER_PREFIX}maxDirtyAge`];
  const given = {
    ...(durability === undefined ? {} : { durability }),
    ...(maxDirtyAge === undefined
      ? {}
      : { maxDirtyAgeMs: durationMs(parseDuration(maxDirtyAge, "maxDirtyAge")) }),
  };
  return parseConfig(volumePolicySchema, given, "the volume's parameter");
}
