// What Prometheus is told of the operator.
import { Counter, Gauge, Histogram, Registry } from "prom-client";

import { CALL_BUCKETS, countCalls } from "../core/csi/call-metrics.ts";
import type { ReconcileReport } from "../core/kube/controller.ts";

export interface OperatorGauges {
  readonly isLeader: boolean;
  readonly isStoreSafe: boolean;
  readonly volumes: number;
  readonly snapshots: number;
  /** By kind: how old our copy may be. */
  readonly stalenessMs: Readonly<Record<string, number>>;
}

export class OperatorMetrics {
  readonly #registry = new Registry();
  readonly onCall = countCalls(this.#registry);
  readonly #reconciles = new Counter({
    name: "weir_reconcile_total",
    help: "Looks at an object, by what they came to",
    labelNames: ["controller", "result"],
    registers: [this.#registry],
  });
  readonly #reconcileSeconds = new Histogram({
    name: "weir_reconcile_seconds",
    help: "Time that looks at an object took",
    labelNames: ["controller"],
    buckets: CALL_BUCKETS,
    registers: [this.#registry],
  });
  readonly #leader = this.#gauge("weir_leader", "1 when this process reconciles");
  readonly #store = this.#gauge("weir_store_safe", "1 when the store has passed the probe");
  readonly #objects = new Gauge({
    name: "weir_objects",
    help: "Volumes and Snapshots that exist",
    labelNames: ["kind"],
    registers: [this.#registry],
  });
  readonly #staleness = new Gauge({
    name: "weir_watch_staleness_seconds",
    help: "Time since the API server last said anything about a kind",
    labelNames: ["kind"],
    registers: [this.#registry],
  });

  onReconciled(controller: string, { result, durationMs }: ReconcileReport): void {
    this.#reconciles.inc({ controller, result });
    this.#reconcileSeconds.observe({ controller }, durationMs / 1000);
  }

  text(gauges: OperatorGauges): Promise<string> {
    this.#leader.set(gauges.isLeader ? 1 : 0);
    this.#store.set(gauges.isStoreSafe ? 1 : 0);
    this.#objects.set({ kind: "Volume" }, gauges.volumes);
    this.#objects.set({ kind: "Snapshot" }, gauges.snapshots);
    for (const [kind, milliseconds] of Object.entries(gauges.stalenessMs)) {
      this.#staleness.set({ kind }, milliseconds / 1000);
    }
    return this.#registry.metrics();
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.#registry] });
  }
}
