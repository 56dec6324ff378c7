// The CSI services that kubelet calls: each RPC is one function of a file of its own; here they
// get their volume's lock, and nothing else.
import {
  NodeExpandVolumeResponse,
  NodeGetCapabilitiesResponse,
  NodeGetInfoResponse,
  NodeService,
  NodeServiceCapability_RPC_Type as Rpc,
} from "../../core/csi/generated/csi.ts";
import { rpcService, type RpcService } from "../../core/csi/rpc-service.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { expand, parseExpand } from "./expand.ts";
import { parsePublish, parseUnpublish, publish, unpublish } from "./publish.ts";
import type { NodeParts } from "./served-volume.ts";
import { parseStage, parseUnstage, stage, unstage } from "./stage.ts";
import { volumeStats } from "./stats.ts";
import type { VolumeWork } from "./volume-work.ts";

interface NodeIdentity {
  readonly nodeName: string;
  /** 0: kubelet's own limits only. */
  readonly maxVolumes: number;
}

const CAPABILITIES = [
  Rpc.STAGE_UNSTAGE_VOLUME,
  Rpc.GET_VOLUME_STATS,
  Rpc.EXPAND_VOLUME,
  Rpc.SINGLE_NODE_MULTI_WRITER,
];

type NodeServiceOptions = NodeParts & {
  readonly identity: NodeIdentity;
  readonly work: VolumeWork;
  /** A volume came to this node or left it, or could not be staged. */
  readonly onStage: (volumeId: string, fault: WeirError | undefined) => void;
};

export function nodeService(options: NodeServiceOptions): RpcService {
  const { work, identity, mounter, onStage } = options;
  return rpcService(NodeService, {
    nodeStageVolume: async (request, call) => {
      const wanted = parseStage(request);
      await tellingOfIt(options, wanted.volumeId, () =>
        work.run({ volumeId: wanted.volumeId, what: "staged", call }, (signal) =>
          stage(options, wanted, signal),
        ),
      );
      return {};
    },
    nodeUnstageVolume: async (request, call) => {
      const wanted = parseUnstage(request);
      await work.run({ volumeId: wanted.volumeId, what: "unstaged", call }, (signal) =>
        unstage(options, wanted, signal),
      );
      onStage(wanted.volumeId, undefined);
      return {};
    },
    nodePublishVolume: async (request, call) => {
      const wanted = parsePublish(request);
      await work.run({ volumeId: wanted.volumeId, what: "published", call }, (signal) =>
        publish(options, wanted, signal),
      );
      return {};
    },
    nodeUnpublishVolume: async (request, call) => {
      const wanted = parseUnpublish(request);
      await work.run({ volumeId: wanted.volumeId, what: "unpublished", call }, () =>
        unpublish(options, wanted),
      );
      return {};
    },
    nodeExpandVolume: async (request, call) => {
      const wanted = parseExpand(request);
      const sizeBytes = await work.run(
        { volumeId: wanted.volumeId, what: "expanded", call },
        (signal) => expand(options, wanted, signal),
      );
      return NodeExpandVolumeResponse.fromPartial({ capacityBytes: BigInt(sizeBytes) });
    },
    nodeGetVolumeStats: (request) => volumeStats(mounter, request),
    nodeGetCapabilities: () =>
      Promise.resolve(
        NodeGetCapabilitiesResponse.fromPartial({
          capabilities: CAPABILITIES.map((type) => ({
            type: { $case: "rpc" as const, value: { type } },
          })),
        }),
      ),
    nodeGetInfo: () =>
      Promise.resolve(
        NodeGetInfoResponse.fromPartial({
          nodeId: identity.nodeName,
          maxVolumesPerNode: BigInt(identity.maxVolumes),
        }),
      ),
  });
}

async function tellingOfIt(
  { onStage }: Pick<NodeServiceOptions, "onStage">,
  volumeId: string,
  staging: () => Promise<void>,
): Promise<void> {
  try {
    await staging();
  } catch (cause) {
    if (cause instanceof WeirError) onStage(volumeId, cause);
    throw cause;
  }
  onStage(volumeId, undefined);
}
