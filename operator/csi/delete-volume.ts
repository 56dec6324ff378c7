// DeleteVolume: gives the Volume object to the API server to delete. What is in the bucket goes
// with it, by the reconciler; the provisioner need not wait for that.
import type { DeleteVolumeRequest } from "../../core/csi/generated/csi.ts";
import type { Kind, KubeObject } from "../../core/kube/kube-api.ts";
import type { Reflector } from "../../core/kube/reflector.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { VOLUME } from "../../crds/volume.ts";
import { attachedNode, isDeleting } from "../volume-state.ts";
import {
  ECHO_MS,
  isOver,
  objectNameOf,
  required,
  type RpcCall,
  type ServiceParts,
} from "./service-parts.ts";

export async function deleteVolume(
  parts: ServiceParts,
  request: DeleteVolumeRequest,
  call: RpcCall,
): Promise<object> {
  const name = objectNameOf(required(request.volumeId, "volume_id"));
  if (name === undefined) return {};
  await parts.inFlight.run({ kind: "volume", name, what: "deleted" }, async () => {
    const volume = await parts.api.get(VOLUME, { name }, call);
    if (volume === undefined) return;
    const node = attachedNode(volume);
    if (node !== undefined) {
      throw new WeirError("in-use", "the volume is attached: stop the pods that use it first", {
        details: { node },
      });
    }
    await deleteObject(parts, { kind: VOLUME, object: volume, copy: parts.volumes, call });
  });
  return {};
}

/** Resolves when the object is marked for deletion, and our own copy shows it. */
export async function deleteObject<T extends KubeObject>(
  parts: Pick<ServiceParts, "api" | "clock">,
  target: {
    readonly kind: Kind<T>;
    readonly object: T;
    readonly copy: Pick<Reflector<T>, "when">;
    readonly call: RpcCall;
  },
): Promise<void> {
  const { kind, object, copy, call } = target;
  const { name, uid } = object.metadata;
  if (!isDeleting(object)) await parts.api.delete(kind, { name, uid }, call);
  using signal = parts.clock.deadline(ECHO_MS, call.signal);
  try {
    const isGone = (now: T | undefined): boolean =>
      now === undefined || now.metadata.uid !== uid || isDeleting(now);
    await copy.when(name, isGone, signal);
  } catch (cause) {
    // The API server has it; only lists are late.
    if (!isOver(cause, call)) throw cause;
  }
}
