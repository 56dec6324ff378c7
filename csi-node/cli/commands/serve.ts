// Runs the engine of this node until a signal ends it.
import { controlSocketPath, isServed } from "../../control/control-socket.ts";
import { ControlServer } from "../../control/control-server.ts";
import type { EngineHost } from "../../engine/engine-host.ts";
import { probeStore } from "../../../core/store/probe.ts";
import { createLogger } from "../../../core/runtime/log.ts";
import { WeirError } from "../../../core/runtime/errors.ts";
import { openCliStore, type Cli } from "../cli.ts";
import type { Command } from "../command.ts";
import { startEngineHost } from "../engine-process.ts";
import { lockState } from "../state-lock.ts";

export const serve: Command = {
  name: "serve",
  summary: "run the engine of this node until SIGTERM or SIGINT",
  details: [
    "Takes up every volume that an earlier engine of this node served, then prints one " +
      "`ready` line.",
    "On a signal it lets go: ublk devices wait for the next engine, NBD clients are cut, " +
      "dirty data stays in the journals. A second signal ends --drain early.",
  ],
  arguments: [],
  options: {
    "journal-size": { value: "SIZE", help: "journal of each volume (default 1GiB)" },
    "cache-ram": { value: "SIZE", help: "clean cache in memory (default 64MiB)" },
    "cache-disk": { value: "SIZE", help: "clean cache in the state directory (default 1GiB)" },
    drain: { help: "upload everything before it ends" },
  },
  examples: [
    "weir serve --store s3://bucket/prefix --cache-disk 20G",
    "weir serve --config engine.json",
  ],
  async run({ cli, options }) {
    const { engine: config } = cli.settings;
    const socketPath = controlSocketPath(config.runDirectory);
    await refuseSecond(socketPath);
    await using store = await openCliStore(cli);
    const log = createLogger({ level: "info", name: "engine", destination: cli.stderr });
    await probeStore(store, cli);
    await using _lock = await lockState(config.stateDirectory);
    const host = startEngineHost(cli, { store, log, config });
    try {
      const { random } = cli;
      await host.recover({ signal: cli.signal });
      const server = await ControlServer.listen({ engine: host, socketPath, random, log });
      try {
        await announce(cli, { host, socketPath });
        await host.keepRecovering({ signal: cli.signal });
        cli.out.note("ending");
      } finally {
        await server.close();
      }
      if (options.flag("drain")) await drain(cli, host);
    } finally {
      await host.close();
    }
  },
};

/** Before the journals are touched; ControlServer.listen looks again when it takes the name. */
async function refuseSecond(socketPath: string): Promise<void> {
  if (!(await isServed(socketPath))) return;
  throw new WeirError(
    "in-use",
    "another engine serves here: stop it first, or give this one its own --run and --state",
    { details: { socket: socketPath } },
  );
}

async function announce(
  cli: Cli,
  found: { readonly host: EngineHost; readonly socketPath: string },
): Promise<void> {
  const { host, socketPath } = found;
  const { store, volumes, waiting } = await host.status();
  const failed = waiting.map(({ name }) => name);
  const names = volumes.map(({ name }) => name);
  const lost = failed.length === 0 ? "" : ` failed=${failed.join(",")}`;
  cli.out.result({
    json: { ready: true, pid: process.pid, store, control: socketPath, volumes: names, failed },
    text: [`ready store=${store} control=${socketPath} volumes=${names.length}${lost}`],
  });
}

async function drain(cli: Cli, host: EngineHost): Promise<void> {
  cli.out.note("uploading what is dirty");
  await host.drain({ signal: cli.hurry });
}
