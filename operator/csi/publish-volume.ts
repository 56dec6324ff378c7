// ControllerPublishVolume and ControllerUnpublishVolume: `status.node` is the attachment, and these
// two alone write it, under the version of the object they decided from. So of two that attach at
// once, one loses; and a Volume that is marked for a snapshot is given to no other node.
import type {
  ControllerPublishVolumeRequest,
  ControllerUnpublishVolumeRequest,
} from "../../core/csi/generated/csi.ts";
import { NODE } from "../../core/kube/kinds.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { isoSeconds } from "../../core/runtime/iso-time.ts";
import { nextCondition } from "../../crds/conditions.ts";
import { SNAPSHOT } from "../../crds/snapshot.ts";
import { strandedMessage } from "../../crds/stranded.ts";
import { VOLUME, type Volume } from "../../crds/volume.ts";
import { ANNOTATIONS } from "../driver.ts";
import { isUsable, nodeExists } from "../nodes.ts";
import { assignedNode, isBeingTaken } from "../reconcile/snapshot/policy.ts";
import { attachedNode, finalFault, isDeleting, isReady } from "../volume-state.ts";
import { checkCapability } from "./capability.ts";
import {
  missing,
  objectNameOf,
  required,
  WRITE_TRIES_MAX,
  type RpcCall,
  type ServiceParts,
} from "./service-parts.ts";

/** As many as the schema allows: the oldest go first. */
const STRANDED_MAX = 16;

export async function publishVolume(
  parts: ServiceParts,
  request: ControllerPublishVolumeRequest,
  call: RpcCall,
): Promise<{ publishContext: Record<string, string> }> {
  const { api } = parts;
  const id = required(request.volumeId, "volume_id");
  const node = required(request.nodeId, "node_id");
  checkCapability(request.volumeCapability);
  if (request.readonly) {
    const message = "a volume cannot be attached read-only: mount it read-only in the pod instead";
    throw new WeirError("invalid-argument", message);
  }
  const name = objectNameOf(id);
  if (name === undefined) throw missing("volume", id);
  await parts.inFlight.run({ kind: "volume", name, what: "attached" }, async () => {
    for (let tries = 0; tries < WRITE_TRIES_MAX; tries += 1) {
      const volume = await api.get(VOLUME, { name }, call);
      if (volume === undefined) throw missing("volume", id);
      if (!(await nodeExists(api, node, call.signal))) throw missing("node", node);
      if (attachedNode(volume) === node && !isDeleting(volume)) return;
      checkAttachable(volume);
      await refuseWhileOpened(parts, { volume, node, call });
      if (await writeStatus(parts, { volume, status: { node }, call })) return;
    }
    throw busy();
  });
  return { publishContext: {} };
}

export async function unpublishVolume(
  parts: ServiceParts,
  request: ControllerUnpublishVolumeRequest,
  call: RpcCall,
): Promise<object> {
  const name = objectNameOf(required(request.volumeId, "volume_id"));
  if (name === undefined) return {};
  await parts.inFlight.run({ kind: "volume", name, what: "detached" }, async () => {
    for (let tries = 0; tries < WRITE_TRIES_MAX; tries += 1) {
      const volume = await parts.api.get(VOLUME, { name }, call);
      const node = volume === undefined ? undefined : attachedNode(volume);
      if (volume === undefined || node === undefined) return;
      if (request.nodeId !== "" && request.nodeId !== node) return;
      const left = await leftBehind(parts, { volume, node, call });
      const status = { node: "", ...left?.status };
      if (!(await writeStatus(parts, { volume, status, call }))) continue;
      if (left !== undefined) await parts.people.tell(left.about, left.news, call.signal);
      return;
    }
    throw busy();
  });
  return {};
}

function checkAttachable(volume: Volume): void {
  const node = attachedNode(volume);
  if (isDeleting(volume)) {
    throw new WeirError("in-use", "the volume is being deleted, so it cannot be attached");
  }
  if (node !== undefined) {
    throw new WeirError(
      "in-use",
      `the volume is attached to node "${node}": it must go from there`,
    );
  }
  if (isReady(volume)) return;
  throw finalFault(volume) ?? new WeirError("aborted", "the volume is not ready yet: try again");
}

/** A node opens the detached volume for a snapshot; a second one would fence it, or be fenced. */
async function refuseWhileOpened(
  parts: ServiceParts,
  options: { readonly volume: Volume; readonly node: string; readonly call: RpcCall },
): Promise<void> {
  const { volume, node, call } = options;
  const name = volume.metadata.annotations?.[ANNOTATIONS.openedFor];
  if (name === undefined) return;
  const snapshot = await parts.api.get(SNAPSHOT, { name }, call);
  if (snapshot === undefined || !isBeingTaken(snapshot) || assignedNode(snapshot) === node) return;
  throw new WeirError("aborted", "a snapshot of the volume is being taken: try again", {
    details: { snapshot: name, node: assignedNode(snapshot) },
  });
}

/** Dirty data on a node that is lost: who looks for it must find where it is. */
async function leftBehind(
  parts: ServiceParts,
  options: { readonly volume: Volume; readonly node: string; readonly call: RpcCall },
) {
  const { volume, node, call } = options;
  const bytes = volume.status?.dirtyBytes ?? 0;
  // Of class `s3`, everything that was synced is in the bucket: the rest was promised to nobody.
  if (bytes === 0 || volume.spec.durability === "s3") return undefined;
  if (isUsable(await parts.api.get(NODE, { name: node }, call))) return undefined;
  const { stranded = [], conditions = [] } = volume.status ?? {};
  const now = isoSeconds(parts.clock.wallMs());
  const since = volume.status?.atRiskSince ?? now;
  const message = strandedMessage({ node, bytes });
  const content = { type: "Stable", status: "False", reason: "StrandedOnNode", message } as const;
  const stable = nextCondition({ present: conditions, content, now });
  return {
    status: {
      stranded: [...stranded, { node, bytes, since }].slice(-STRANDED_MAX),
      conditions: [...conditions.filter(({ type }) => type !== "Stable"), stable],
    },
    about: { kind: VOLUME, object: volume },
    news: { reason: "StrandedOnNode", note: message, action: "Detach" },
  };
}

/** False when somebody else wrote the object in between. */
async function writeStatus(
  parts: ServiceParts,
  options: { readonly volume: Volume; readonly status: object; readonly call: RpcCall },
): Promise<boolean> {
  const { volume, status, call } = options;
  const { name, resourceVersion } = volume.metadata;
  const patch = { metadata: { resourceVersion }, status };
  const how = { signal: call.signal, status: true };
  const written = await parts.api.merge(VOLUME, { name }, patch, how);
  if (written.kind !== "invalid") return written.kind === "written";
  throw new WeirError("internal", "the API server refused the status of a Volume", {
    details: { problem: written.message },
  });
}

function busy(): WeirError {
  return new WeirError("aborted", "the Volume is being changed by others: try again");
}
