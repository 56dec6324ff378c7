// What Prometheus is told of the node service, under the names that CSI drivers share.
import { Gauge, Histogram, Registry } from "prom-client";

import type { EndedCall } from "../../core/csi/rpc-service.ts";

/** Seconds: from a cheap question to the longest wait that kubelet grants. */
const BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100];

export class NodeMetrics {
  readonly #registry = new Registry();
  readonly #operations = new Histogram({
    name: "csi_operations_seconds",
    help: "Time that calls of kubelet took",
    labelNames: ["driver_name", "method_name", "grpc_status_code"],
    buckets: BUCKETS,
    registers: [this.#registry],
  });
  readonly #registered = new Gauge({
    name: "weir_node_registered",
    help: "1 when kubelet has registered the driver",
    registers: [this.#registry],
  });
  readonly #driver: string;

  constructor(options: { readonly driver: string }) {
    this.#driver = options.driver;
  }

  onCall({ method, code, durationMs }: EndedCall): void {
    const labels = { driver_name: this.#driver, method_name: method, grpc_status_code: code };
    this.#operations.observe(labels, durationMs / 1000);
  }

  text(state: { readonly isRegistered: boolean }): Promise<string> {
    this.#registered.set(state.isRegistered ? 1 : 0);
    return this.#registry.metrics();
  }
}
