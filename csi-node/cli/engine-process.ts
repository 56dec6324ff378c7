// An engine in this process: for as long as `weir serve` runs, or for one command.
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";

import type { Logger } from "../../core/runtime/log.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { probeStore } from "../../core/store/probe.ts";
import type { EngineApi } from "../control/engine-api.ts";
import type { EngineConfig } from "../engine/config.ts";
import { EngineHost } from "../engine/engine-host.ts";
import { NativeEngine } from "../engine/native.ts";
import { findEngine, openCliStore, type Cli } from "./cli.ts";
import { lockState } from "./state-lock.ts";

/** The name of this node in epoch records. */
export const nodeName = (config: EngineConfig): string => config.nodeName ?? hostname();

/** Changes with every start of the machine: what it names is gone then, devices above all. */
const BOOT_ID = "/proc/sys/kernel/random/boot_id";

export interface EngineInProcess {
  readonly engine: NativeEngine;
  readonly host: EngineHost;
}

/**
 * Journals and records are made below the state directory. REQUIRES that the caller closes the
 * host, and holds the directory's lock (state-lock.ts) before a volume is attached.
 */
export function startEngine(
  cli: Cli,
  parts: { readonly store: ObjectStore; readonly log: Logger; readonly config: EngineConfig },
): EngineInProcess {
  const { store, log, config } = parts;
  const engine = new NativeEngine({
    addonPath: cli.settings.addonPath,
    cacheDirectory: config.cacheFileBytes === 0 ? "" : cacheDirectory(config),
    cacheRamBytes: config.cacheRamBytes,
    cacheFileBytes: config.cacheFileBytes,
    uploadNice: config.uploadNice,
  });
  const { clock, random } = cli;
  const writer = nodeName(config);
  const bootId = readFileSync(BOOT_ID, "utf8").trim();
  const host = new EngineHost({ engine, store, clock, random, log, config, writer, bootId });
  return { engine, host };
}

export function cacheDirectory(config: EngineConfig): string {
  return join(config.stateDirectory, "cache");
}

/**
 * The node's engine, or one of our own while `use` runs. Ours keeps off the node's clean cache:
 * it would fill it with what nobody reads again.
 */
export async function withEngine<T>(cli: Cli, use: (engine: EngineApi) => Promise<T>): Promise<T> {
  const running = await findEngine(cli);
  if (running !== undefined) return use(running);
  await using store = await openCliStore(cli);
  await probeStore(store, cli);
  const config = { ...cli.settings.engine, cacheFileBytes: 0 };
  await using _lock = await lockState(config.stateDirectory);
  const { host } = startEngine(cli, { store, log: cli.log, config });
  try {
    return await use(host);
  } finally {
    await host.close();
  }
}
