// What Prometheus is told of the node service.
import { Gauge, Registry } from "prom-client";

import { countCalls } from "../../core/csi/call-metrics.ts";

export class NodeMetrics {
  readonly #registry = new Registry();
  readonly onCall = countCalls(this.#registry);
  readonly #registered = new Gauge({
    name: "weir_node_registered",
    help: "1 when kubelet has registered the driver",
    registers: [this.#registry],
  });

  text(state: { readonly isRegistered: boolean }): Promise<string> {
    this.#registered.set(state.isRegistered ? 1 : 0);
    return this.#registry.metrics();
  }
}
