// What kubelet and Prometheus ask the engine. Ready means that this process serves the node's
// volumes: in a rollout the successor is not ready before it has every device, and only then the
// DaemonSet's controller lets the predecessor go.
import { Gauge, Registry } from "prom-client";

import { Health } from "../../core/runtime/health.ts";
import type { EngineHost } from "../engine/engine-host.ts";
import type { NodeEngine } from "../handoff/node-engine.ts";

/** `endpoint`: as Health.serve takes it. */
export async function serveEngineHealth(
  endpoint: string,
  parts: { readonly node: NodeEngine; readonly host: EngineHost },
): Promise<AsyncDisposable> {
  const { node, host } = parts;
  const health = await Health.serve(endpoint);
  health.ask({
    whyNotReady: () => {
      if (node.state === "starting") return "the engine is starting, or takes over";
      return node.state === "idle" ? "another engine has taken over" : undefined;
    },
    metrics: async () => {
      const { volumes, waiting, handoff } = await host.status();
      const { registry, set } = new Measures();
      set("weir_engine_generation", "Which engine of this node it is.", node.generation);
      set("weir_engine_volumes", "Volumes it serves.", volumes.length);
      set("weir_engine_volumes_waiting", "Volumes it could not take up again.", waiting.length);
      set(
        "weir_engine_dirty_bytes",
        "Acknowledged bytes that are not in the bucket.",
        volumes.reduce((sum, { dirtyBytes }) => sum + dirtyBytes, 0),
      );
      if (handoff !== null) {
        const { outcome, worstStallUs, devices, phasesMs } = handoff;
        set("weir_handoff_worst_stall_seconds", "Of the last handoff.", worstStallUs / 1e6, {
          outcome,
        });
        for (const { uid, stallUs } of devices) {
          set("weir_handoff_stall_seconds", "Of the last handoff.", stallUs / 1e6, { uid });
        }
        for (const [phase, ms] of Object.entries(phasesMs)) {
          set("weir_handoff_phase_seconds", "Of the last handoff.", ms / 1e3, { phase });
        }
      }
      return registry.metrics();
    },
  });
  return health;
}

/** Gauges of one answer; a volume that has gone leaves none behind. */
class Measures {
  readonly registry = new Registry();
  readonly #gauges = new Map<string, Gauge>();

  readonly set = (
    name: string,
    help: string,
    value: number,
    labels: Readonly<Record<string, string>> = {},
  ): void => {
    const labelNames = Object.keys(labels);
    let gauge = this.#gauges.get(name);
    gauge ??= new Gauge({ name, help, labelNames, registers: [this.registry] });
    this.#gauges.set(name, gauge);
    gauge.set(labels, value);
  };
}
