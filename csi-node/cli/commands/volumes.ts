// Volumes as objects of the store: these commands work without an engine.
import { listVolumes } from "../../../core/log/catalog.ts";
import { mapParallel, type LogContext } from "../../../core/log/context.ts";
import { readLog, type ReadLog } from "../../../core/log/open-log.ts";
import type { VolumeRecord } from "../../../core/log/records.ts";
import { createVolume, deleteVolume } from "../../../core/log/volumes.ts";
import { probeStore } from "../../../core/store/probe.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import { findEngine, needVolume, withStore } from "../cli.ts";
import type { Cli } from "../cli.ts";
import type { Command, CommandInput } from "../command.ts";
import { formatWallTime, table } from "../output.ts";
import { formatSize } from "../units.ts";
import { nodeName } from "../engine-process.ts";
import { firstArgument, needSize } from "./inputs.ts";

export const create: Command = {
  name: "create",
  summary: "create an empty volume",
  arguments: ["NAME"],
  options: { size: { value: "SIZE", help: "a multiple of 4 KiB, at least 1 MiB; 10G is 10 GiB" } },
  examples: ["weir create data --size 10G"],
  async run({ cli, arguments: given, options }) {
    const name = firstArgument(given);
    const sizeBytes = needSize(options);
    const record = await withStore(cli, async (context) => {
      // A store that may lose data must not get a volume in the first place.
      await probeStore(context.store, cli);
      return createVolume({ ...context, name, sizeBytes });
    });
    cli.out.result({
      json: record,
      text: [`created ${record.name} (${formatSize(record.sizeBytes)}, uid ${record.uid})`],
    });
  },
};

export const list: Command = {
  name: "list",
  summary: "list the volumes of the store",
  arguments: [],
  options: {},
  examples: ["weir list", "weir list --json | jq -r '.[].name'"],
  async run({ cli }) {
    const volumes = await withStore(cli, async (context) =>
      mapParallel(await listVolumes(context), (record) => presentState(context, record)),
    );
    const rows = volumes.map(({ record, sizeBytes, position, fault }) => [
      record.name,
      fault === undefined ? formatSize(sizeBytes) : "?",
      fault === undefined ? formatPosition(position) : `damaged: ${fault.message}`,
      formatWallTime(record.createdAtMs),
      record.uid,
    ]);
    cli.out.result({
      json: volumes.map(({ record, ...state }) => ({ ...record, ...state })),
      text: table(["NAME", "SIZE", "POSITION", "CREATED", "UID"], rows),
    });
  },
};

export const deleteCommand: Command = {
  name: "delete",
  summary: "delete a volume and all its data",
  details: ["A volume with snapshots or clones is refused: delete those first."],
  arguments: ["NAME"],
  options: {},
  examples: ["weir delete data"],
  run: (input) => runDelete(input),
};

async function runDelete({ cli, arguments: given }: CommandInput): Promise<void> {
  const name = firstArgument(given);
  const uid = await withStore(cli, async (context) => {
    const volume = await needVolume(context, name);
    await refuseAttached(cli, volume);
    await deleteVolume({ ...context, uid: volume.uid, writer: nodeName(cli.settings.engine) });
    return volume.uid;
  });
  cli.out.result({ json: { name, uid, deleted: true }, text: [`deleted ${name}`] });
}

/** An engine elsewhere is fenced by the deletion; ours can be asked first. */
async function refuseAttached(cli: Cli, volume: VolumeRecord): Promise<void> {
  const engine = await findEngine(cli);
  const status = await engine?.status({ signal: cli.signal });
  if (status?.volumes.every(({ uid }) => uid !== volume.uid) !== false) return;
  throw new WeirError(
    "in-use",
    `the volume is attached: run \`weir detach ${volume.name}\` first`,
    {
      details: { name: volume.name },
    },
  );
}

interface PresentState {
  readonly record: VolumeRecord;
  readonly sizeBytes: number;
  readonly position: ReadLog["committed"]["position"] | undefined;
  readonly fault: { readonly code: string; readonly message: string } | undefined;
}

/**
 * The record tells the size at creation; the log tells what it is now. One damaged volume hides
 * no other.
 */
async function presentState(context: LogContext, record: VolumeRecord): Promise<PresentState> {
  try {
    const { committed } = await readLog({ ...context, volume: record.uid });
    const { position, volumeSizeBytes } = committed;
    return { record, sizeBytes: volumeSizeBytes, position, fault: undefined };
  } catch (cause) {
    if (!(cause instanceof WeirError) || cause.code !== "object-corrupt") throw cause;
    const fault = { code: cause.code, message: cause.message };
    return { record, sizeBytes: record.sizeBytes, position: undefined, fault };
  }
}

export function formatPosition(position: ReadLog["committed"]["position"] | undefined): string {
  return position === undefined ? "" : `${position.epoch}/${position.seq}`;
}
