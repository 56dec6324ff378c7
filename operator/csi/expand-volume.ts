// ControllerExpandVolume: writes the new size into the Volume's spec. The device and the file
// system grow on the node, so the node is always asked, too.
import type {
  ControllerExpandVolumeRequest,
  ControllerExpandVolumeResponse,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { formatQuantity } from "../../crds/quantity.ts";
import { VOLUME, type Volume } from "../../crds/volume.ts";
import { isDeleting, sizeBytesOf } from "../volume-state.ts";
import { Refusal } from "./refusal.ts";
import {
  missing,
  objectNameOf,
  required,
  WRITE_TRIES_MAX,
  type RpcCall,
  type ServiceParts,
} from "./service-parts.ts";
import { parseSize } from "./size.ts";

export async function expandVolume(
  parts: ServiceParts,
  request: ControllerExpandVolumeRequest,
  call: RpcCall,
): Promise<ControllerExpandVolumeResponse> {
  const id = required(request.volumeId, "volume_id");
  const range = request.capacityRange;
  if (range === undefined) {
    throw new WeirError("invalid-argument", "capacity_range is missing from the request");
  }
  const name = objectNameOf(id);
  if (name === undefined) throw missing("volume", id);
  const sizeBytes = await parts.inFlight.run({ kind: "volume", name, what: "expanded" }, () =>
    grow(parts, { name, range, call }),
  );
  return { capacityBytes: BigInt(sizeBytes), nodeExpansionRequired: true };
}

async function grow(
  parts: ServiceParts,
  options: {
    readonly name: string;
    readonly range: NonNullable<ControllerExpandVolumeRequest["capacityRange"]>;
    readonly call: RpcCall;
  },
): Promise<number> {
  const { name, range, call } = options;
  for (let tries = 0; tries < WRITE_TRIES_MAX; tries += 1) {
    const volume = await parts.api.get(VOLUME, { name }, call);
    if (volume === undefined || isDeleting(volume)) throw missing("volume", name);
    const presentBytes = sizeBytesOf(volume);
    const { leastBytes, mostBytes } = parseSize(range, { defaultBytes: presentBytes });
    if (presentBytes > mostBytes) {
      const message = "the volume is larger than the limit already, and volumes do not shrink";
      throw new Refusal("SizeInvalid", message, { code: "out-of-range" });
    }
    if (leastBytes <= presentBytes) return presentBytes;
    if (await writeSize(parts, { volume, sizeBytes: leastBytes, call })) return leastBytes;
  }
  throw new WeirError("aborted", "the Volume is being changed by others: try again");
}

/** False when somebody else wrote the object in between. */
async function writeSize(
  parts: ServiceParts,
  options: { readonly volume: Volume; readonly sizeBytes: number; readonly call: RpcCall },
): Promise<boolean> {
  const { volume, sizeBytes, call } = options;
  const { name, resourceVersion } = volume.metadata;
  const patch = { metadata: { resourceVersion }, spec: { size: formatQuantity(sizeBytes) } };
  const written = await parts.api.merge(VOLUME, { name }, patch, call);
  if (written.kind !== "invalid") return written.kind === "written";
  const message = `the API server refused the new size: ${written.message}`;
  throw new WeirError("invalid-argument", message);
}
