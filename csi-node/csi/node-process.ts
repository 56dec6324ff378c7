// The node service from its first socket to its last word. Order matters: both sockets answer
// before kubelet is told, because it calls back at once; at the end calls that run are waited for,
// and both sockets' files stay for the successor.
import { readFile } from "node:fs/promises";

import { serveCsi } from "../../core/csi/serve.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { logFault, type Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { VERSION } from "../../core/runtime/version.ts";
import { whenAborted } from "../../core/runtime/timer-signals.ts";
import type { KubeApi } from "../../core/kube/kube-api.ts";
import type { EngineApi } from "../control/engine-api.ts";
import { pluginDirectory, type NodeConfig } from "./config.ts";
import { runHandoffAgent } from "./handoff-agent.ts";
import { Health } from "../../core/runtime/health.ts";
import { NodeMetrics } from "./metrics.ts";
import type { Mounter } from "./mounter.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { identityService } from "../../core/csi/identity.ts";
import { nodeService } from "./node-service.ts";
import { Registration } from "./registration.ts";
import { runSnapshotAgent } from "./snapshot-agent.ts";
import { VolumeAgent } from "./volume-agent.ts";
import { VolumeWork } from "./volume-work.ts";

/** Below the grace period that a pod has. */
const DRAIN_MS = 20_000;

export interface NodeProcessOptions {
  readonly config: NodeConfig;
  readonly engine: EngineApi;
  readonly mounter: Mounter;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Ends the process. */
  readonly signal: AbortSignal;
  /** Without it nothing is reported and no snapshot is taken. */
  readonly api: KubeApi | undefined;
}

/** Resolves when the signal has ended everything. Throws what stops it from starting. */
export async function runNode(options: NodeProcessOptions): Promise<void> {
  const { config, clock, random, log, signal, engine, mounter } = options;
  const ending = new AbortController();
  const metrics = new NodeMetrics();
  const registration = new Registration({
    driver: DRIVER,
    endpoint: config.kubeletSocketPath,
    pluginDirectory: pluginDirectory(config),
    registryDirectory: config.registryDirectory,
    bootId: (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim(),
    clock,
    random,
    log,
  });
  const identity = { nodeName: config.nodeName, maxVolumes: config.maxVolumes };
  const work = new VolumeWork({ clock, log, ending: ending.signal });
  const agents = startable(options);
  const common = { clock, random, log, onCall: metrics.onCall };
  const csi = await serveCsi({
    ...common,
    socketPath: config.socketPath,
    services: [
      identityService(),
      nodeService({ engine, mounter, clock, identity, work, onStage: agents.onStage }),
    ],
  });
  const kubelet = await serveCsi({
    ...common,
    socketPath: registration.socketPath,
    services: [registration.service()],
  });
  try {
    await using _health = await startHealth(options, { registration, metrics });
    log.info(
      { node: config.nodeName, socket: config.socketPath, version: VERSION },
      "serving kubelet",
    );
    await Promise.all([announce(registration, options), agents.run(signal), whenAborted(signal)]);
  } finally {
    log.info("ending: waiting for the calls that run");
    await Promise.all([csi, kubelet].map((server) => server.close({ drainMs: DRAIN_MS })));
    ending.abort(new WeirError("aborted", "the node service has ended"));
  }
}

async function announce(registration: Registration, options: NodeProcessOptions): Promise<void> {
  const { log, signal } = options;
  try {
    await registration.announce(signal);
  } catch (cause) {
    if (!signal.aborted) logFault(log, cause, "kubelet cannot be told about the driver");
  }
}

async function startHealth(
  options: NodeProcessOptions,
  parts: { readonly registration: Registration; readonly metrics: NodeMetrics },
): Promise<AsyncDisposable> {
  const { config } = options;
  const { registration, metrics } = parts;
  if (config.httpEndpoint === undefined) return { [Symbol.asyncDispose]: async () => undefined };
  const health = await Health.serve(config.httpEndpoint);
  health.ask({
    metrics: () => metrics.text({ isRegistered: registration.isRegistered }),
    // Of its own work only. Whether the engine serves, its own container says: a question to it
    // that fails for a moment would make this pod unready, and in a rollout that ends the pod with
    // the engine, before the next one has the devices.
    whyNotReady: () =>
      registration.isRegistered ? undefined : "kubelet has not registered the driver yet",
  });
  return health;
}

/** What runs beside the services, for the API server. */
function startable(options: NodeProcessOptions): {
  readonly onStage: VolumeAgent["onStage"];
  readonly run: (signal: AbortSignal) => Promise<void>;
} {
  const { api, config, engine, clock, random, log } = options;
  if (api === undefined) return { onStage: () => undefined, run: whenAborted };
  const parts = { api, engine, clock, random, log, nodeName: config.nodeName };
  const volumes = new VolumeAgent(parts);
  return {
    onStage: (name, fault) => volumes.onStage(name, fault),
    run: async (signal) => {
      await Promise.all([
        runSnapshotAgent(parts, signal),
        runHandoffAgent(parts, signal),
        volumes.run(signal),
      ]);
    },
  };
}
