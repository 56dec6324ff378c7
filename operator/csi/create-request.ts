// CreateVolume's request, checked: what the Volume is to be. The size of a request that names none
// depends on the source, so it is settled later.
import type {
  CapacityRange,
  CreateVolumeRequest,
  VolumeContentSource,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { VolumeSource } from "../../crds/volume.ts";
import { volumeNameFor } from "../names.ts";
import { checkCapabilities } from "./capability.ts";
import { labelsIn, parseVolumeParameters, type VolumeParameters } from "./parameters.ts";
import { required } from "./service-parts.ts";

export interface WantedVolume {
  readonly name: string;
  readonly range: CapacityRange | undefined;
  readonly source: VolumeSource | undefined;
  readonly parameters: VolumeParameters;
  readonly labels: Readonly<Record<string, string>>;
}

export function parseCreateVolume(request: CreateVolumeRequest): WantedVolume {
  const name = volumeNameFor(required(request.name, "name"));
  checkCapabilities(request.volumeCapabilities);
  const [mutable] = Object.keys(request.mutableParameters);
  if (mutable !== undefined) {
    const message = `a VolumeAttributesClass is not supported, and so "${mutable}" cannot be set`;
    throw new WeirError("invalid-argument", message);
  }
  return {
    name,
    range: request.capacityRange,
    source: parseSource(request.volumeContentSource),
    parameters: parseVolumeParameters(request.parameters),
    labels: labelsIn(request.parameters),
  };
}

function parseSource(source: VolumeContentSource | undefined): VolumeSource | undefined {
  if (source === undefined) return undefined;
  const { type } = source;
  switch (type?.$case) {
    case "snapshot":
      return { snapshot: required(type.value.snapshotId, "snapshot_id") };
    case "volume":
      return { volume: required(type.value.volumeId, "volume_id") };
    case undefined:
    default:
      throw new WeirError("invalid-argument", "the volume content source names no source");
  }
}
