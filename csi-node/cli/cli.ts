// What every command is given, and the two things it reaches from there: the store and the engine.
import { mkdir } from "node:fs/promises";

import type { LogContext } from "../../core/log/context.ts";
import { findVolume } from "../../core/log/volumes.ts";
import type { VolumeRecord } from "../../core/log/records.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { openStore } from "../../core/store/open-store.ts";
import { ControlClient } from "../control/control-client.ts";
import { controlSocketPath, isServed } from "../control/control-socket.ts";
import { DEFAULTS, type Settings } from "./config.ts";
import type { Output, TextStream } from "./output.ts";

/** How long a command repeats a request: someone waits for it, and can try again. */
const STORE_PATIENCE_MS = 10_000;

export interface Cli {
  readonly settings: Settings;
  readonly out: Output;
  /** For work that one command does in this process: warnings become notes. */
  readonly log: Logger;
  /** For an engine's own log. */
  readonly stderr: TextStream;
  readonly clock: Clock;
  readonly random: Random;
  /** The first SIGINT or SIGTERM: end in good order. */
  readonly signal: AbortSignal;
  /** The second one: end at once. */
  readonly hurry: AbortSignal;
}

/**
 * The store of the settings. The default one is made when it is not there; any other must exist.
 */
export async function openCliStore({ settings, clock, random }: Cli): Promise<ObjectStore> {
  const { storeUrl } = settings;
  if (storeUrl === DEFAULTS["store"]) {
    await mkdir(new URL(storeUrl).pathname, { recursive: true, mode: 0o700 });
  }
  return await openStore(storeUrl, { clock, random });
}

/** Opens the store for one command. */
export async function withStore<T>(cli: Cli, use: (context: LogContext) => Promise<T>): Promise<T> {
  const { clock, random, signal } = cli;
  await using store = await openCliStore(cli);
  return await use({ store, clock, random, signal, patienceMs: STORE_PATIENCE_MS });
}

/** The volume of that name; a fault when there is none. */
export async function needVolume(context: LogContext, name: string): Promise<VolumeRecord> {
  const found = await findVolume({ ...context, name });
  if (found !== undefined) return found;
  throw new WeirError("not-found", "there is no volume of that name in this store", {
    details: { name, store: context.store.label },
  });
}

/** The engine of this node, or undefined when none is running. */
export async function findEngine(cli: Cli): Promise<ControlClient | undefined> {
  const socketPath = controlSocketPath(cli.settings.engine.runDirectory);
  return (await isServed(socketPath)) ? new ControlClient({ socketPath }) : undefined;
}

export async function needEngine(cli: Cli): Promise<ControlClient> {
  const engine = await findEngine(cli);
  if (engine !== undefined) return engine;
  throw new WeirError(
    "engine-unavailable",
    `no engine is running on this node: start one with \`${serveCommand(cli.settings)}\``,
  );
}

/** How to start the engine that these settings would find. */
function serveCommand({ storeUrl, engine }: Settings): string {
  const places = [
    ["store", storeUrl],
    ["state", engine.stateDirectory],
    ["run", engine.runDirectory],
  ] as const;
  const options = places.filter(([name, value]) => DEFAULTS[name] !== value);
  return ["weir serve", ...options.map(([name, value]) => `--${name} ${value}`)].join(" ");
}
