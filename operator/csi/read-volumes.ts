// What is asked about volumes: one of them, all of them, and whether one can be used in some way.
// Lists come from our own copy; questions about one volume go to the API server.
import {
  ControllerGetVolumeResponse,
  ListVolumesResponse,
  ValidateVolumeCapabilitiesResponse,
  type ControllerGetVolumeRequest,
  type ListVolumesRequest,
  type ValidateVolumeCapabilitiesRequest,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { VOLUME, type Volume } from "../../crds/volume.ts";
import { attachedNode, isDeleting, volumeContextOf } from "../volume-state.ts";
import { publishedNodes, volumeAnswer } from "./answers.ts";
import { refusalOf } from "./capability.ts";
import { pageOf } from "./pages.ts";
import { parseVolumeParameters } from "./parameters.ts";
import {
  missing,
  objectNameOf,
  required,
  type RpcCall,
  type ServiceParts,
} from "./service-parts.ts";

export async function listVolumes(
  parts: ServiceParts,
  request: ListVolumesRequest,
  call: RpcCall,
): Promise<ListVolumesResponse> {
  await parts.volumes.synced(call.signal);
  const volumes = parts.volumes.items().filter(isListed);
  const { entries, nextToken } = pageOf(volumes, request);
  return ListVolumesResponse.fromPartial({
    entries: entries.map((volume) => ({
      volume: volumeAnswer(volume),
      status: publishedNodes(volume),
    })),
    nextToken,
  });
}

export async function getVolume(
  parts: ServiceParts,
  request: ControllerGetVolumeRequest,
  call: RpcCall,
): Promise<ControllerGetVolumeResponse> {
  const volume = await findVolume(parts, request.volumeId, call);
  return ControllerGetVolumeResponse.fromPartial({
    volume: volumeAnswer(volume),
    status: publishedNodes(volume),
  });
}

export async function validateCapabilities(
  parts: ServiceParts,
  request: ValidateVolumeCapabilitiesRequest,
  call: RpcCall,
): Promise<ValidateVolumeCapabilitiesResponse> {
  const { volumeId, volumeCapabilities, volumeContext, parameters, mutableParameters } = request;
  required(volumeId, "volume_id");
  if (volumeCapabilities.length === 0) {
    throw new WeirError("invalid-argument", "volume_capabilities is missing from the request");
  }
  const volume = await findVolume(parts, volumeId, call);
  const problem = problemOf(volume, request);
  if (problem !== undefined) {
    return ValidateVolumeCapabilitiesResponse.fromPartial({ message: problem });
  }
  return ValidateVolumeCapabilitiesResponse.fromPartial({
    confirmed: { volumeCapabilities, volumeContext, parameters, mutableParameters },
  });
}

/** What is attached stays listed, come what may: the attacher detaches what it does not find. */
function isListed(volume: Volume): boolean {
  const isCreated = volume.status?.uid !== undefined;
  return attachedNode(volume) !== undefined || (isCreated && !isDeleting(volume));
}

function problemOf(volume: Volume, request: ValidateVolumeCapabilitiesRequest): string | undefined {
  const { volumeCapabilities, volumeContext, parameters, mutableParameters } = request;
  const refusal = volumeCapabilities.map(refusalOf).find((found) => found !== undefined);
  if (refusal !== undefined) return refusal.message;
  const context = volumeContextOf(volume.spec);
  const other = Object.entries(volumeContext).find(([key, value]) => context[key] !== value);
  if (other !== undefined) return `the volume context has another value of "${other[0]}"`;
  const [mutable] = Object.keys(mutableParameters);
  if (mutable !== undefined) return `the parameter "${mutable}" cannot be changed`;
  try {
    parseVolumeParameters(parameters);
    return undefined;
  } catch (cause) {
    if (cause instanceof WeirError) return cause.message;
    throw cause;
  }
}

async function findVolume(parts: ServiceParts, volumeId: string, call: RpcCall): Promise<Volume> {
  const name = objectNameOf(required(volumeId, "volume_id"));
  const volume = name === undefined ? undefined : await parts.api.get(VOLUME, { name }, call);
  if (volume === undefined || isDeleting(volume)) throw missing("volume", volumeId);
  return volume;
}
