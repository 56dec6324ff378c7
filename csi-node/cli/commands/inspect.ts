// Everything the bucket and this node's engine know about one volume.
import { listAll, type LogContext } from "../../../core/log/context.ts";
import { checkpointsPrefix, logPrefix } from "../../../core/log/keys.ts";
import { SEGMENT_HEADER_BYTES } from "../../../core/log/limits.ts";
import { readLog } from "../../../core/log/open-log.ts";
import type { VolumeRecord } from "../../../core/log/records.ts";
import { getSnapshot, getVolume } from "../../../core/log/catalog.ts";
import type { AttachedVolume } from "../../control/engine-api.ts";
import { findEngine, needVolume, withStore, type Cli } from "../cli.ts";
import type { Command } from "../command.ts";
import { facts, formatWallTime } from "../output.ts";
import { formatSize } from "../units.ts";
import { formatPosition } from "./volumes.ts";
import { firstArgument } from "./inputs.ts";

export const inspect: Command = {
  name: "inspect",
  summary: "show what the store knows about a volume",
  details: [
    "Reads only. Data that is not uploaded yet is not in the store: `weir status` shows it.",
  ],
  arguments: ["NAME"],
  options: {},
  examples: ["weir inspect data"],
  async run({ cli, arguments: given }) {
    const name = firstArgument(given);
    const found = await withStore(cli, async (context) => gather(context, name));
    const attached = await attachedHere(cli, found.volume);
    cli.out.result({
      json: { ...found, attached: attached ?? null },
      text: facts([...describeVolume(found), ...describeAttached(attached)]),
    });
  },
};

interface Totals {
  readonly count: number;
  readonly bytes: number;
}

async function gather(context: LogContext, name: string) {
  const volume = await needVolume(context, name);
  const { uid } = volume;
  const view = await readLog({ ...context, volume: uid });
  return {
    volume,
    sizeBytes: view.committed.volumeSizeBytes,
    epoch: view.newestEpoch,
    position: view.committed.position,
    segments: await totals(context, logPrefix(uid)),
    segmentsBehindCheckpoint: view.segments.length,
    checkpoints: await totals(context, checkpointsPrefix(uid)),
    parent: await parentNames(context, volume),
  };
}

/** A SEAL is a header without anything behind it: not a segment. */
async function totals(context: LogContext, prefix: string): Promise<Totals> {
  let count = 0;
  let bytes = 0;
  for await (const { sizeBytes } of listAll({ ...context, prefix })) {
    if (sizeBytes <= SEGMENT_HEADER_BYTES) continue;
    count += 1;
    bytes += sizeBytes;
  }
  return { count, bytes };
}

/** Names where they still exist; a clone outlives neither, but people may have deleted by hand. */
async function parentNames(context: LogContext, { parent }: VolumeRecord) {
  if (parent === undefined) return null;
  const volume = await getVolume({ ...context, uid: parent.volume });
  const snapshot = await getSnapshot({ ...context, uid: parent.snapshot });
  return { volume: volume?.name ?? parent.volume, snapshot: snapshot?.name ?? parent.snapshot };
}

async function attachedHere(cli: Cli, volume: VolumeRecord): Promise<AttachedVolume | undefined> {
  const engine = await findEngine(cli);
  const status = await engine?.status({ signal: cli.signal });
  return status?.volumes.find(({ uid }) => uid === volume.uid);
}

type Fact = readonly [string, string];

function describeVolume(found: Awaited<ReturnType<typeof gather>>): readonly Fact[] {
  const { volume, segments, checkpoints, parent } = found;
  return [
    ["name", volume.name],
    ["uid", volume.uid],
    ["size", formatSize(found.sizeBytes)],
    ["created", formatWallTime(volume.createdAtMs)],
    ["parent", parent === null ? "none" : `snapshot ${parent.snapshot} of ${parent.volume}`],
    ["epoch", String(found.epoch)],
    ["position", formatPosition(found.position)],
    [
      "segments",
      `${segments.count} (${formatSize(segments.bytes)}), ` +
        `${found.segmentsBehindCheckpoint} behind the newest checkpoint`,
    ],
    ["checkpoints", `${checkpoints.count} (${formatSize(checkpoints.bytes)})`],
  ];
}

function describeAttached(attached: AttachedVolume | undefined): readonly Fact[] {
  if (attached === undefined) return [["attached", "not by an engine of this node"]];
  const { transport, fault } = attached;
  const device = transport?.kind === "nbd" ? transport.uri : transport?.devicePath;
  const state = fault === undefined ? "" : `, failed: ${fault.message}`;
  return [
    ["attached", `${device ?? "without a device"}${state}`],
    ["dirty", formatSize(attached.dirtyBytes)],
  ];
}
