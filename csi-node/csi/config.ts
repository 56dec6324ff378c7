// The options of weir-csi-node, checked once. Everything that differs between nodes comes from the
// DaemonSet's arguments; only the API server's address is left to the environment.
import { basename, dirname, isAbsolute, join } from "node:path";
import { parseArgs } from "node:util";

import { WeirError } from "../../core/runtime/errors.ts";
import type { LogLevel } from "../../core/runtime/log.ts";

export interface NodeConfig {
  /** kubelet's name for this node. */
  readonly nodeName: string;
  /** The CSI socket as this process sees it; its folder is the plugin's own. */
  readonly socketPath: string;
  /** The CSI socket as kubelet sees it. */
  readonly kubeletSocketPath: string;
  /** The folder that kubelet watches, as this process sees it. */
  readonly registryDirectory: string;
  readonly engineSocketPath: string;
  /** `undefined`: no health checks and metrics. */
  readonly httpEndpoint: string | undefined;
  readonly maxVolumes: number;
  /** Without it the node does its work, but reports nothing and takes no snapshots. */
  readonly useKubernetes: boolean;
  /** `undefined`: that of the pod we run in. */
  readonly kubeconfigPath: string | undefined;
  readonly logLevel: LogLevel;
}

export const USAGE = `Usage: weir-csi-node --node-name NAME [OPTIONS]

Serves kubelet on this node: stages and publishes the volumes that the engine serves.

  --node-name NAME          this node's name in Kubernetes
  --csi-endpoint URL        where to serve (default unix:/csi/csi.sock)
  --kubelet-dir DIR         kubelet's folder, as kubelet names it (default /var/lib/kubelet)
  --registration-dir DIR    kubelet's plugins_registry, as seen here (default /registration)
  --engine-socket PATH      control socket of the engine (default /run/weir/control.sock)
  --http-endpoint HOST:PORT /healthz, /readyz and /metrics; "" for none (default :9809)
  --max-volumes COUNT       volumes of Weir that may be on this node at once (default 64)
  --without-kubernetes      do not talk to the API server: no reports, no snapshots
  --log-level LEVEL         debug, info, warn or error (default info)
  --help                    show this
`;

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];
const VOLUMES_MAX = 4096;

/** Throws `invalid-argument` for the first mistake; `undefined` when only help was asked for. */
export function parseNodeConfig(
  args: readonly string[],
  options: {
    readonly driver: string;
    readonly env: Readonly<Record<string, string | undefined>>;
  },
): NodeConfig | undefined {
  const values = readOptions(args);
  if (values.help) return undefined;
  const kubeletDirectory = absolute(values["kubelet-dir"], "--kubelet-dir");
  const socketPath = parseEndpoint(values["csi-endpoint"]);
  const http = values["http-endpoint"];
  return {
    nodeName: nonEmpty(values["node-name"] ?? "", "--node-name"),
    socketPath,
    kubeletSocketPath: join(kubeletDirectory, "plugins", options.driver, basename(socketPath)),
    registryDirectory: absolute(values["registration-dir"], "--registration-dir"),
    engineSocketPath: absolute(values["engine-socket"], "--engine-socket"),
    httpEndpoint: http === "" ? undefined : http,
    maxVolumes: parseCount(values["max-volumes"]),
    useKubernetes: !values["without-kubernetes"],
    kubeconfigPath: options.env["KUBECONFIG"] === "" ? undefined : options.env["KUBECONFIG"],
    logLevel: parseLevel(values["log-level"]),
  };
}

export function processEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}

/** The folder that belongs to this plugin. */
export function pluginDirectory(config: NodeConfig): string {
  return dirname(config.socketPath);
}

function readOptions(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        "node-name": { type: "string" },
        "csi-endpoint": { type: "string", default: "unix:/csi/csi.sock" },
        "kubelet-dir": { type: "string", default: "/var/lib/kubelet" },
        "registration-dir": { type: "string", default: "/registration" },
        "engine-socket": { type: "string", default: "/run/weir/control.sock" },
        "http-endpoint": { type: "string", default: ":9809" },
        "max-volumes": { type: "string", default: "64" },
        "without-kubernetes": { type: "boolean", default: false },
        "log-level": { type: "string", default: "info" },
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
  return absolute(path, "--csi-endpoint");
}

function absolute(path: string, option: string): string {
  if (isAbsolute(path)) return path;
  throw wrong(`${option} must be an absolute path`);
}

function nonEmpty(text: string, option: string): string {
  if (text !== "") return text;
  throw wrong(`${option} is missing`);
}

function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 0 && count <= VOLUMES_MAX) return count;
  throw wrong(`--max-volumes must be a number up to ${VOLUMES_MAX}; 0 means no limit`);
}

function parseLevel(text: string): LogLevel {
  const level = LEVELS.find((known) => known === text);
  if (level !== undefined) return level;
  throw wrong(`--log-level must be one of ${LEVELS.join(", ")}`);
}

function wrong(message: string, cause?: unknown): WeirError {
  return new WeirError("invalid-argument", message, { cause });
}
