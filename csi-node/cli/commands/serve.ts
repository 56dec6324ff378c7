// Runs the engine of this node until a signal ends it, or another engine has taken over and a
// signal ends what is left.
import { controlSocketPath, isServed } from "../../control/control-socket.ts";
import type { EngineHost } from "../../engine/engine-host.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import type { Cli } from "../cli.ts";
import type { Command } from "../command.ts";
import type { OptionSpecs } from "../options.ts";
import { serveEngineHealth } from "../engine-health.ts";
import { openNodeProcess, type NodeProcess } from "../node-process.ts";

const IDLE_MS = 3_600_000;

/** What an engine may use of the node. */
export const SIZE_OPTIONS: OptionSpecs = {
  "journal-size": { value: "SIZE", help: "journal of each volume (default 1GiB)" },
  "cache-ram": { value: "SIZE", help: "clean cache in memory (default 64MiB)" },
  "cache-disk": { value: "SIZE", help: "clean cache in the state directory (default 1GiB)" },
};

export const serve: Command = {
  name: "serve",
  summary: "run the engine of this node until SIGTERM or SIGINT",
  details: [
    "Takes up every volume that an earlier engine of this node served, then prints one " +
      "`ready` line.",
    "With --take-over it takes the volumes from the engine that serves, while they are in use; " +
      "the other one then waits for its own end. With none there it starts as without.",
    "On a signal it lets go: ublk devices wait for the next engine, NBD clients are cut, " +
      "dirty data stays in the journals. A second signal ends --drain early.",
  ],
  arguments: [],
  options: {
    ...SIZE_OPTIONS,
    "take-over": { help: "from the engine that serves here, if there is one" },
    drain: { help: "upload everything before it ends" },
    "http-endpoint": {
      value: "PORT",
      help: "of /readyz, /healthz and /metrics; ready is the engine that serves",
    },
  },
  examples: [
    "weir serve --store s3://bucket/prefix --cache-disk 20G",
    "weir serve --take-over --config engine.json",
  ],
  async run({ cli, options }) {
    const socketPath = controlSocketPath(cli.settings.engine.runDirectory);
    const takeOver = options.flag("take-over");
    if (!takeOver) await refuseSecond(socketPath);
    await using opened = await openNodeProcess(cli);
    const { node, host } = opened;
    const endpoint = options.text("http-endpoint");
    await using _health =
      endpoint === undefined ? undefined : await serveEngineHealth(endpoint, opened);
    await node.start({ takeOver, signal: cli.signal });
    await announce(cli, opened, socketPath);
    if ((await node.serve(cli.signal)) === "handed-over") {
      cli.out.note("handed over: waiting for a signal to end");
      await idle(cli);
      return;
    }
    cli.out.note("ending");
    await node.closeSockets();
    if (options.flag("drain") && node.state !== "idle") await drain(cli, host);
  },
};

/** Nothing open keeps the process any more; if it ended, kubelet would start it anew. */
async function idle({ clock, signal }: Cli): Promise<void> {
  while (!signal.aborted) await clock.sleep(IDLE_MS, signal).catch(() => undefined);
}

/** Before the journals are touched; ControlServer.listen looks again when it takes the name. */
async function refuseSecond(socketPath: string): Promise<void> {
  if (!(await isServed(socketPath))) return;
  throw new WeirError(
    "in-use",
    "another engine serves here: take over from it with --take-over, stop it first, or give this " +
      "one its own --run and --state",
    { details: { socket: socketPath } },
  );
}

async function announce(cli: Cli, opened: NodeProcess, socketPath: string): Promise<void> {
  const { host, node } = opened;
  const { store, volumes, waiting, handoff } = await host.status();
  const failed = waiting.map(({ name }) => name);
  const names = volumes.map(({ name }) => name);
  const lost = failed.length === 0 ? "" : ` failed=${failed.join(",")}`;
  const { generation } = node;
  cli.out.result({
    json: {
      ...{ ready: true, pid: process.pid, store, control: socketPath, volumes: names, failed },
      ...{ generation, handoff },
    },
    text: [
      `ready store=${store} control=${socketPath} volumes=${names.length} ` +
        `generation=${generation}${lost}`,
    ],
  });
}

async function drain(cli: Cli, host: EngineHost): Promise<void> {
  cli.out.note("uploading what is dirty");
  await host.drain({ signal: cli.hurry });
}
