// The engine of this node as a process: its store, its engine, its lock and its sockets, for
// `serve` and for trying out a handoff.
import { join } from "node:path";

import type { Logger } from "../../core/runtime/log.ts";
import { createLogger } from "../../core/runtime/log.ts";
import type { WeirError } from "../../core/runtime/errors.ts";
import { probeStore } from "../../core/store/probe.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { VERSION } from "../../core/runtime/version.ts";
import { controlSocketPath } from "../control/control-socket.ts";
import { ControlServer } from "../control/control-server.ts";
import type { EngineHost } from "../engine/engine-host.ts";
import { NodeEngine } from "../handoff/node-engine.ts";
import { ownIdentity, Owners } from "../handoff/owners.ts";
import { openCliStore, type Cli } from "./cli.ts";
import { cacheDirectory, startEngine } from "./engine-process.ts";
import { lockState } from "./state-lock.ts";

export interface NodeProcess extends AsyncDisposable {
  readonly node: NodeEngine;
  readonly host: EngineHost;
  readonly store: ObjectStore;
}

export async function ownersOf(runDirectory: string): Promise<Owners> {
  const identity = await ownIdentity({ pid: process.pid, build: VERSION });
  return new Owners({ directory: join(runDirectory, "owners"), identity });
}

/** Nothing is locked, claimed or served until the node engine is started. */
export async function openNodeProcess(cli: Cli): Promise<NodeProcess> {
  const { engine: config } = cli.settings;
  const store = await openCliStore(cli);
  const log = createLogger({ level: "info", name: "engine", destination: cli.stderr });
  await probeStore(store, cli);
  // The clean cache's file has one owner at a time: it is opened when this process is the one.
  const parts = { store, log, config: { ...config, cacheFileBytes: 0 } };
  const { engine, host } = startEngine(cli, parts);
  const node = new NodeEngine({
    ...{ engine, host, log, clock: cli.clock, runDirectory: config.runDirectory },
    owners: await ownersOf(config.runDirectory),
    lock: async () => {
      const lock = await lockState(config.stateDirectory);
      return { close: async () => lock[Symbol.asyncDispose]() };
    },
    listenControl: ({ replace }) => listenControl(cli, { host, log, replace }),
    openCache: async () => {
      const { cacheFileBytes: fileBytes } = config;
      if (fileBytes > 0)
        await engine.openCacheFile({ directory: cacheDirectory(config), fileBytes });
    },
    onDie: (fault) => endAtOnce(log, fault),
    onProgress: ({ loaded, of }) => cli.out.note(`loaded ${loaded} of ${of} volumes`),
  });
  return {
    ...{ node, host, store },
    [Symbol.asyncDispose]: async () => {
      await node.close();
      await store[Symbol.asyncDispose]();
    },
  };
}

function listenControl(
  cli: Cli,
  options: { readonly host: EngineHost; readonly log: Logger; readonly replace: boolean },
): Promise<ControlServer> {
  const { host: engine, log, replace } = options;
  const socketPath = controlSocketPath(cli.settings.engine.runDirectory);
  return ControlServer.listen({ engine, socketPath, random: cli.random, log, replace });
}

/**
 * What this process holds of the devices is not known any more. An orderly end would touch them, so
 * there is none: the kernel keeps their users waiting for the next engine.
 */
function endAtOnce(log: Logger, fault: WeirError): void {
  log.fatal({ err: fault }, "the engine ends itself: the next one recovers its volumes");
  process.kill(process.pid, "SIGKILL");
}
