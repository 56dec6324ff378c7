// The CSI controller service: each RPC is one function of a file of its own. Every replica serves
// it, leader or not: it only reads and writes objects, and the leader's reconcilers do the rest.
import {
  ControllerGetCapabilitiesResponse,
  ControllerService,
  ControllerServiceCapability_RPC_Type as Rpc,
} from "../../core/csi/generated/csi.ts";
import { rpcService, type RpcService } from "../../core/csi/rpc-service.ts";
import type { OperatorParts } from "../parts.ts";
import { createVolume } from "./create-volume.ts";
import { deleteVolume } from "./delete-volume.ts";
import { expandVolume } from "./expand-volume.ts";
import { InFlight } from "./in-flight.ts";
import { publishVolume, unpublishVolume } from "./publish-volume.ts";
import { getVolume, listVolumes, validateCapabilities } from "./read-volumes.ts";
import type { ServiceParts } from "./service-parts.ts";
import { createSnapshot, deleteSnapshot, getSnapshot, listSnapshots } from "./snapshots.ts";

/** GetSnapshot is served but not named: csi-sanity 5.4 fails at capabilities it does not know. */
const CAPABILITIES = [
  Rpc.CREATE_DELETE_VOLUME,
  Rpc.PUBLISH_UNPUBLISH_VOLUME,
  Rpc.LIST_VOLUMES,
  Rpc.LIST_VOLUMES_PUBLISHED_NODES,
  Rpc.GET_VOLUME,
  Rpc.CREATE_DELETE_SNAPSHOT,
  Rpc.LIST_SNAPSHOTS,
  Rpc.CLONE_VOLUME,
  Rpc.EXPAND_VOLUME,
  Rpc.SINGLE_NODE_MULTI_WRITER,
];

export function controllerService(operator: OperatorParts): RpcService {
  const parts: ServiceParts = { ...operator, inFlight: new InFlight() };
  return rpcService(ControllerService, {
    createVolume: (request, call) => createVolume(parts, request, call),
    deleteVolume: (request, call) => deleteVolume(parts, request, call),
    controllerPublishVolume: (request, call) => publishVolume(parts, request, call),
    controllerUnpublishVolume: (request, call) => unpublishVolume(parts, request, call),
    controllerExpandVolume: (request, call) => expandVolume(parts, request, call),
    validateVolumeCapabilities: (request, call) => validateCapabilities(parts, request, call),
    listVolumes: (request, call) => listVolumes(parts, request, call),
    controllerGetVolume: (request, call) => getVolume(parts, request, call),
    createSnapshot: (request, call) => createSnapshot(parts, request, call),
    deleteSnapshot: (request, call) => deleteSnapshot(parts, request, call),
    listSnapshots: (request, call) => listSnapshots(parts, request, call),
    getSnapshot: (request, call) => getSnapshot(parts, request, call),
    controllerGetCapabilities: () =>
      Promise.resolve(
        ControllerGetCapabilitiesResponse.fromPartial({
          capabilities: CAPABILITIES.map((type) => ({ type: { $case: "rpc", value: { type } } })),
        }),
      ),
  });
}
