// Snapshots and clones. Taking a snapshot commits what is dirty, so it needs the engine that has
// the volume, or one of its own for the moment; the rest is the store's alone.
import { getVolume, listSnapshots } from "../../../core/log/catalog.ts";
import type { LogContext } from "../../../core/log/context.ts";
import type { SnapshotRecord } from "../../../core/log/records.ts";
import { cloneVolume, deleteSnapshot, findSnapshot } from "../../../core/log/snapshots.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import { withStore } from "../cli.ts";
import type { Command } from "../command.ts";
import { withEngine } from "../engine-process.ts";
import { formatWallTime, table } from "../output.ts";
import { formatSize } from "../units.ts";
import { firstArgument, sizeOption, twoArguments } from "./inputs.ts";

/** Said by every command that may open a volume in its own process. */
export const OPENS_FOR_A_MOMENT =
  "Uses the engine of this node. Without one the volume is opened for the moment, " +
  "and an engine elsewhere that serves it is fenced.";

export const snapshot: Command = {
  name: "snapshot",
  summary: "name the present state of a volume for ever",
  details: ["Everything written so far is uploaded first.", OPENS_FOR_A_MOMENT],
  arguments: ["NAME", "SNAPSHOT"],
  options: {},
  examples: ["weir snapshot data data-monday"],
  async run({ cli, arguments: given }) {
    const [name, snapshot] = twoArguments(given);
    const record = await withEngine(cli, (engine) =>
      engine.snapshot({ name, snapshot }, { signal: cli.signal }),
    );
    cli.out.result({
      json: record,
      text: [`snapshot ${record.name} of ${name} (${formatSize(record.sizeBytes)})`],
    });
  },
};

export const snapshots: Command = {
  name: "snapshots",
  summary: "list the snapshots of the store",
  arguments: [],
  options: {},
  examples: ["weir snapshots"],
  async run({ cli }) {
    const found = await withStore(cli, async (context) => {
      const records = await listSnapshots(context);
      const uids = new Set(records.map((record) => record.volume));
      const names = new Map<string, string | undefined>();
      for (const uid of uids) names.set(uid, (await getVolume({ ...context, uid }))?.name);
      return records.map((record) => ({ ...record, volumeName: names.get(record.volume) ?? null }));
    });
    const rows = found.map((record) => [
      record.name,
      record.volumeName ?? record.volume,
      formatSize(record.sizeBytes),
      `${record.position.epoch}/${record.position.seq}`,
      formatWallTime(record.createdAtMs),
    ]);
    cli.out.result({
      json: found,
      text: table(["SNAPSHOT", "VOLUME", "SIZE", "POSITION", "CREATED"], rows),
    });
  },
};

export const snapshotDelete: Command = {
  name: "snapshot-delete",
  summary: "delete a snapshot",
  details: ["A snapshot with clones is refused: delete those first."],
  arguments: ["SNAPSHOT"],
  options: {},
  examples: ["weir snapshot-delete data-monday"],
  async run({ cli, arguments: given }) {
    const name = firstArgument(given);
    const uid = await withStore(cli, async (context) => {
      const record = await needSnapshot(context, name);
      await deleteSnapshot({ ...context, uid: record.uid });
      return record.uid;
    });
    cli.out.result({ json: { name, uid, deleted: true }, text: [`deleted snapshot ${name}`] });
  },
};

export const clone: Command = {
  name: "clone",
  summary: "create a volume that begins as a snapshot",
  details: ["Shares the snapshot's data: the same few requests whatever the size."],
  arguments: ["SNAPSHOT", "NEWNAME"],
  options: { size: { value: "SIZE", help: "larger than the snapshot; the same when absent" } },
  examples: ["weir clone data-monday data-copy"],
  async run({ cli, arguments: given, options }) {
    const [snapshotName, name] = twoArguments(given);
    const sizeBytes = sizeOption(options);
    const record = await withStore(cli, async (context) => {
      const snapshot = await needSnapshot(context, snapshotName);
      const size = sizeBytes === undefined ? {} : { sizeBytes };
      return cloneVolume({ ...context, name, snapshot, ...size });
    });
    cli.out.result({
      json: record,
      text: [`created ${record.name} from ${snapshotName} (${formatSize(record.sizeBytes)})`],
    });
  },
};

async function needSnapshot(context: LogContext, name: string): Promise<SnapshotRecord> {
  const found = await findSnapshot({ ...context, name });
  if (found !== undefined) return found;
  throw new WeirError("not-found", "there is no snapshot of that name in this store", {
    details: { name, store: context.store.label },
  });
}
