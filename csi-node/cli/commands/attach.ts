// What a running engine does with volumes: attach, detach, grow, and what it serves at the moment.
import { volumePolicySchema, parseConfig, type VolumePolicy } from "../../engine/config.ts";
import type {
  AttachedVolume,
  EngineStatus,
  TransportInfo,
  TransportRequest,
} from "../../control/engine-api.ts";
import { sentenceOf } from "../../handoff/report.ts";
import type { OptionValues } from "../options.ts";
import { needEngine } from "../cli.ts";
import type { Command } from "../command.ts";
import { withEngine } from "../engine-process.ts";
import { table } from "../output.ts";
import { DirtyProgress } from "../progress.ts";
import { formatSize } from "../units.ts";
import { UsageError } from "../usage-error.ts";
import { firstArgument, needSize } from "./inputs.ts";
import { OPENS_FOR_A_MOMENT } from "./snapshots.ts";

const STATUS_DEADLINE_MS = 10_000;

export const attach: Command = {
  name: "attach",
  summary: "serve a volume on this node; prints its device or NBD URI",
  details: [
    "Claims the volume: an engine elsewhere that serves it is fenced and can commit no more.",
    "Attaching again in the same way prints the same.",
  ],
  arguments: ["NAME"],
  options: {
    transport: { value: "KIND", help: "ublk (/dev/ublkbN) or nbd (default nbd)" },
    durability: {
      value: "CLASS",
      help: "what a flush waits for: local (this node's journal) or s3 (the store) (default local)",
    },
    "max-dirty-age": {
      value: "TIME",
      help: "upload when the oldest write is this old (default 5s)",
    },
    "max-dirty": {
      value: "SIZE",
      help: "slow writes down near so much dirty data (default 256MiB)",
    },
    "read-deadline": {
      value: "TIME",
      help: "a read that the store cannot serve for so long ends in EIO (default 60s)",
    },
    socket: { value: "PATH", help: "the NBD socket (default NAME.nbd in the run directory)" },
  },
  examples: ["weir attach data --transport ublk", "weir attach data --durability s3"],
  async run({ cli, arguments: given, options }) {
    const name = firstArgument(given);
    const transport = transportOf(options);
    const policy = policyOf(options);
    const engine = await needEngine(cli);
    const attached = await engine.attach({ name, transport, policy }, { signal: cli.signal });
    cli.out.result({ json: attached, text: [deviceOf(attached.transport)] });
  },
};

export const detach: Command = {
  name: "detach",
  summary: "upload what is dirty and stop serving a volume",
  arguments: ["NAME"],
  options: {
    force: {
      help: "without uploading: dirty data stays in this node's journal until the next attach",
    },
  },
  examples: ["weir detach data"],
  async run({ cli, arguments: given, options }) {
    const name = firstArgument(given);
    const engine = await needEngine(cli);
    using progress = new DirtyProgress({
      stream: cli.out.progressStream,
      clock: cli.clock,
      label: `detaching ${name}`,
    });
    await engine.detach(
      { name, force: options.flag("force") },
      { signal: cli.signal, onProgress: (dirtyBytes) => progress.update(dirtyBytes) },
    );
    cli.out.result({ json: { name, detached: true }, text: [`detached ${name}`] });
  },
};

export const grow: Command = {
  name: "grow",
  summary: "make a volume larger",
  details: ["The file system on it is not touched.", OPENS_FOR_A_MOMENT],
  arguments: ["NAME"],
  options: { size: { value: "SIZE", help: "the new size, not the difference" } },
  examples: ["weir grow data --size 20G"],
  async run({ cli, arguments: given, options }) {
    const name = firstArgument(given);
    const sizeBytes = needSize(options);
    await withEngine(cli, (engine) => engine.grow({ name, sizeBytes }, { signal: cli.signal }));
    cli.out.result({
      json: { name, sizeBytes },
      text: [`${name} has ${formatSize(sizeBytes)}`],
    });
  },
};

export const status: Command = {
  name: "status",
  summary: "show what this node's engine serves",
  arguments: [],
  options: {},
  examples: ["weir status", "weir status --json"],
  async run({ cli }) {
    const engine = await needEngine(cli);
    using signal = cli.clock.deadline(STATUS_DEADLINE_MS, cli.signal);
    const found = await engine.status({ signal });
    cli.out.result({ json: found, text: statusText(found) });
  },
};

function transportOf(options: OptionValues): TransportRequest {
  const kind = options.choice("transport", ["nbd", "ublk"]) ?? "nbd";
  const socketPath = options.text("socket");
  if (kind === "nbd")
    return { kind, socketPath: socketPath === undefined ? undefined : absolute(socketPath) };
  if (socketPath !== undefined) throw new UsageError("--socket goes with --transport nbd only");
  return { kind };
}

/** The engine has another working directory. */
function absolute(path: string): string {
  if (path.startsWith("/")) return path;
  throw new UsageError(`--socket must be an absolute path, not "${path}"`);
}

function policyOf(options: OptionValues): VolumePolicy {
  const given = {
    durability: options.choice("durability", ["local", "s3"]),
    maxDirtyAgeMs: options.durationMs("max-dirty-age"),
    maxDirtyBytes: options.sizeBytes("max-dirty"),
    readDeadlineMs: options.durationMs("read-deadline"),
  };
  return parseConfig(volumePolicySchema, given, "the volume's policy");
}

function deviceOf(transport: TransportInfo | null): string {
  if (transport === null) return "";
  return transport.kind === "nbd" ? transport.uri : transport.devicePath;
}

function statusText(status: EngineStatus): readonly string[] {
  const { store, volumes, waiting, cache, handoff } = status;
  const reads = cache.ramHits + cache.fileHits + cache.misses;
  const hits =
    reads === 0 ? "unused" : `${Math.round((100 * (reads - cache.misses)) / reads)}% hits`;
  return [
    `store ${store}, clean cache ${formatSize(cache.ramBytes)} RAM, ` +
      `${formatSize(cache.fileBytes)} disk, ${hits}`,
    ...table(
      ["NAME", "DEVICE", "SIZE", "DIRTY", "JOURNAL", "POSITION", "CLASS", "STATE"],
      volumes.map((volume) => statusRow(volume)),
    ),
    ...waiting.map(({ name, fault }) => `${name} was not taken up again: ${fault.message}`),
    ...(handoff === null ? [] : [`handoff: ${sentenceOf(handoff)}`]),
  ];
}

function statusRow(volume: AttachedVolume): readonly string[] {
  return [
    volume.name,
    deviceOf(volume.transport),
    formatSize(volume.sizeBytes),
    formatSize(volume.dirtyBytes),
    `${formatSize(volume.journalUsedBytes)} of ${formatSize(volume.journalCapacityBytes)}`,
    `${volume.committedEpoch}/${volume.committedSeq}`,
    volume.durability,
    stateOf(volume),
  ];
}

function stateOf({ fault, held, trouble, strandedJournal }: AttachedVolume): string {
  if (fault !== undefined) return `failed: ${fault.message}`;
  if (held > 0) return `${held} writes wait for the store, or for room on the journal's disk`;
  if (trouble !== undefined) return `trouble: ${trouble.message}`;
  if (strandedJournal !== undefined)
    return `an overtaken journal was set aside: ${strandedJournal}`;
  return "ok";
}
