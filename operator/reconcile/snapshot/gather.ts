// The facts about a Snapshot: from the copies of what the API server has, and from the nodes only
// while one has to be chosen or watched.
import { parseIsoTime } from "../../../core/runtime/iso-time.ts";
import type { Snapshot } from "../../../crds/snapshot.ts";
import { ANNOTATIONS } from "../../driver.ts";
import { snapshotUidOf } from "../../names.ts";
import { chooseNode, isUsableNode, type CsiNodes } from "../../nodes.ts";
import type { OperatorParts } from "../../parts.ts";
import { attachedNode, isDeleting, isReady } from "../../volume-state.ts";
import { assignedNode, isBeingTaken, isTaken, type SnapshotFacts } from "./policy.ts";

/** Longer than a node works at one attempt (csi-node); it hears of the deletion well before. */
const GRACE_MS = 12 * 60_000;

export async function gatherSnapshot(options: {
  readonly parts: OperatorParts;
  readonly csiNodes: CsiNodes;
  readonly snapshot: Snapshot;
  readonly signal: AbortSignal;
}): Promise<SnapshotFacts> {
  const { parts, csiNodes, snapshot, signal } = options;
  const { api } = parts;
  const volume = parts.volumes.get(snapshot.spec.volume);
  const holder = volume?.metadata.annotations?.[ANNOTATIONS.openedFor];
  const other = parts.snapshots.get(holder ?? "");
  const node = assignedNode(snapshot);
  const isOpen = !isTaken(snapshot);
  const isNodeUsable = isOpen && node !== undefined ? await isUsableNode(api, node, signal) : true;
  const needsNode =
    isOpen &&
    !isDeleting(snapshot) &&
    (node === undefined || !isNodeUsable) &&
    volume !== undefined &&
    isReady(volume) &&
    attachedNode(volume) === undefined;
  const seed = snapshotUidOf(snapshot.metadata);
  return {
    snapshot,
    volume,
    backend: parts.backend.fault,
    isNodeUsable,
    freeNode: needsNode ? await chooseNode({ api, csiNodes, seed, signal }) : undefined,
    isOtherBeingTaken: other !== undefined && isBeingTaken(other),
    isGraceOver: isGraceOver(snapshot, parts.clock.wallMs()),
  };
}

/** By the wall clock of two machines: minutes matter here, seconds do not. */
function isGraceOver({ metadata }: Snapshot, wallMs: number): boolean {
  const { deletionTimestamp } = metadata;
  if (deletionTimestamp === undefined) return false;
  return wallMs - parseIsoTime(deletionTimestamp).getTime() > GRACE_MS;
}
