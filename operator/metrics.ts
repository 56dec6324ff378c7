// What Prometheus is told of the operator.
import { Counter, Gauge, Histogram, Registry } from "prom-client";

import type { EndedCall } from "../core/csi/rpc-service.ts";
import type { ReconcileReport } from "../core/kube/controller.ts";
import { DRIVER } from "./driver.ts";

/** Seconds: from a cheap question to the longest wait of a sidecar. */
const BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100];

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
  readonly #operations = new Histogram({
    name: "csi_operations_seconds",
    help: "Time that calls of the sidecars took",
    labelNames: ["driver_name", "method_name", "grpc_status_code"],
    buckets: BUCKETS,
    registers: [this.#registry],
  });
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
    buckets: BUCKETS,
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

  onCall({ method, code, durationMs }: EndedCall): void {
    const labels = { driver_name: DRIVER, method_name: method, grpc_status_code: code };
    this.#operations.observe(labels, durationMs / 1000);
  }

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
