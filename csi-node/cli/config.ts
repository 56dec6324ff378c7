// Settings of a command: options before environment before configuration file before defaults.
// The only file of the CLI that reads the environment.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";

import { WeirError } from "../../core/runtime/errors.ts";
import { engineConfigSchema, parseConfig, type EngineConfig } from "../engine/config.ts";
import type { OptionValues } from "./options.ts";
import { parseSize } from "./units.ts";
import { UsageError } from "./usage-error.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Shown in the help beside the option of that name. */
export const DEFAULTS: Readonly<Record<string, string>> = {
  store: "file:///var/lib/weir/store",
  state: "/var/lib/weir",
  run: "/run/weir",
};

export interface Settings {
  readonly storeUrl: string;
  readonly engine: EngineConfig;
  /** The compiled addon. */
  readonly addonPath: string;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** Options of `serve` and the variables that stand for them; each is a size. */
const SIZES = [
  { option: "journal-size", variable: "WEIR_JOURNAL_SIZE", key: "journalBytes" },
  { option: "cache-ram", variable: "WEIR_CACHE_RAM", key: "cacheRamBytes" },
  { option: "cache-disk", variable: "WEIR_CACHE_DISK", key: "cacheFileBytes" },
] as const;

const PLACES = [
  { option: "state", variable: "WEIR_STATE", key: "stateDirectory" },
  { option: "run", variable: "WEIR_RUN", key: "runDirectory" },
] as const;

const fileSchema = z.record(z.string(), z.unknown());

export function processEnvironment(): Environment {
  return process.env;
}

export async function readSettings(options: OptionValues, env: Environment): Promise<Settings> {
  const storeUrl = options.text("store") ?? nonEmpty(env["WEIR_STORE"]) ?? DEFAULTS["store"] ?? "";
  return {
    storeUrl: checkStoreUrl(storeUrl),
    engine: await readEngineConfig(options, env),
    addonPath: nonEmpty(env["WEIR_ADDON"]) ?? builtAddon(),
    json: options.flag("json"),
    quiet: options.flag("quiet"),
  };
}

async function readEngineConfig(options: OptionValues, env: Environment): Promise<EngineConfig> {
  const path = options.text("config") ?? nonEmpty(env["WEIR_CONFIG"]);
  const given: Record<string, unknown> = path === undefined ? {} : await readConfigFile(path);
  for (const { option, variable, key } of PLACES) {
    const place = options.text(option) ?? nonEmpty(env[variable]);
    if (place !== undefined) given[key] = resolve(place);
  }
  for (const { option, variable, key } of SIZES) {
    const fromVariable = nonEmpty(env[variable]);
    const size =
      options.sizeBytes(option) ??
      (fromVariable === undefined ? undefined : parseSize(fromVariable, variable));
    if (size !== undefined) given[key] = size;
  }
  const nodeName = nonEmpty(env["WEIR_NODE_NAME"]);
  if (nodeName !== undefined) given["nodeName"] = nodeName;
  return parseConfig(engineConfigSchema.strict(), given, "the engine's configuration");
}

async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new WeirError("not-found", "the configuration file cannot be read", {
      details: { path },
      cause,
    });
  }
  const parsed = fileSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new WeirError("invalid-argument", "the configuration file is not a JSON object", {
    details: { path },
  });
}

/** `--store /path` is the usual slip; saying what to write is better than a wrong guess. */
function checkStoreUrl(url: string): string {
  if (/^[a-z0-9]+:/u.test(url)) return url;
  throw new UsageError(`--store must be a URL such as file://${resolve(url)} or s3://bucket`);
}

/** The release build of this checkout or image. */
function builtAddon(): string {
  return join(import.meta.dirname, "..", "..", "native", "build", "release", "weir.node");
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
