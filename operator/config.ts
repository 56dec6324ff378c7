// The options of weir-operator, checked once: arguments say how it runs, the environment what the
// pod and the Secret say.
import { isAbsolute } from "node:path";
import { parseArgs } from "node:util";

import { WeirError } from "../core/runtime/errors.ts";
import type { LogLevel } from "../core/runtime/log.ts";

export interface OperatorConfig {
  readonly socketPath: string;
  /** Where the Lease is; `undefined`: no election, this process is the only one. */
  readonly electionNamespace: string | undefined;
  /** How long a leader that fell silent is waited for. */
  readonly leaseMs: number;
  /** `undefined`: no health checks and metrics. */
  readonly httpEndpoint: string | undefined;
  readonly storeUrl: string;
  /** `undefined`: that of the pod we run in. */
  readonly kubeconfigPath: string | undefined;
  /** Who reports: the pod's name. */
  readonly instance: string;
  readonly logLevel: LogLevel;
}

export const USAGE = `Usage: weir-operator [OPTIONS]

Serves the CSI controller service, and creates and deletes volumes and snapshots.

  --csi-endpoint URL                 where to serve (default unix:/csi/csi.sock)
  --leader-election-namespace NAME   where the Lease is; without it there must be one operator only
  --leader-election-lease-duration S how long a silent leader is waited for (default 15 seconds)
  --http-endpoint HOST:PORT          /healthz, /readyz and /metrics; "" for none (default :9808)
  --store URL                        s3://BUCKET/PREFIX or file:///PATH (default: $WEIR_STORE)
  --log-level LEVEL                  debug, info, warn or error (default: $WEIR_LOG_LEVEL, or info)
  --help                             show this

Environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, KUBECONFIG, POD_NAME.
`;

type Environment = Readonly<Record<string, string | undefined>>;

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Throws `invalid-argument` for the first mistake; `undefined` when only help was asked for. */
export function parseOperatorConfig(
  args: readonly string[],
  env: Environment,
): OperatorConfig | undefined {
  const values = readOptions(args);
  if (values.help) return undefined;
  const http = values["http-endpoint"];
  return {
    socketPath: parseEndpoint(values["csi-endpoint"]),
    electionNamespace: nonEmpty(values["leader-election-namespace"]),
    leaseMs: parseSeconds(values["leader-election-lease-duration"]) * 1_000,
    httpEndpoint: nonEmpty(http),
    storeUrl: parseStore(values.store ?? env["WEIR_STORE"]),
    kubeconfigPath: nonEmpty(env["KUBECONFIG"]),
    instance: nonEmpty(env["POD_NAME"]) ?? "weir-operator",
    logLevel: parseLevel(values["log-level"] ?? nonEmpty(env["WEIR_LOG_LEVEL"]) ?? "info"),
  };
}

export function processEnvironment(): Environment {
  return process.env;
}

function readOptions(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        "csi-endpoint": { type: "string", default: "unix:/csi/csi.sock" },
        "leader-election-namespace": { type: "string" },
        "leader-election-lease-duration": { type: "string", default: "15" },
        "http-endpoint": { type: "string", default: ":9808" },
        store: { type: "string" },
        "log-level": { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (cause) {
    throw wrong(cause instanceof Error ? cause.message : "an option is not known", cause);
  }
}

/** `unix:/path` and `unix:///path` are the same to gRPC. */
function parseEndpoint(text: string): string {
  const path = text.replace(/^unix:(?:\/\/)?/u, "");
  if (isAbsolute(path)) return path;
  throw wrong("--csi-endpoint must be unix: and an absolute path");
}

function parseStore(url: string | undefined): string {
  if (url !== undefined && url !== "") return url;
  throw wrong("the store is not given: set WEIR_STORE or --store");
}

/** Renewed every two seconds, a shorter one would be lost at the first delay. */
function parseSeconds(text: string): number {
  const seconds = /^\d{1,4}$/u.test(text) ? Number(text) : 0;
  if (seconds >= 5) return seconds;
  throw wrong("--leader-election-lease-duration must be 5 to 9999 seconds");
}

function parseLevel(text: string): LogLevel {
  const level = LEVELS.find((known) => known === text);
  if (level !== undefined) return level;
  throw wrong(`the log level must be one of ${LEVELS.join(", ")}`);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function wrong(message: string, cause?: unknown): WeirError {
  return new WeirError("invalid-argument", message, { cause });
}
