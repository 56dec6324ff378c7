// What Prometheus is told of each CSI call, under the name that CSI drivers share.
import { Histogram, type Registry } from "prom-client";

import { DRIVER } from "./driver.ts";
import type { EndedCall } from "./rpc-service.ts";

/** Seconds: from a cheap question to the longest wait that a caller grants. */
export const CALL_BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100];

/** Registers the metric; the function is for serveCsi's `onCall`. */
export function countCalls(registry: Registry): (call: EndedCall) => void {
  const seconds = new Histogram({
    name: "csi_operations_seconds",
    help: "Time that calls of kubelet and the sidecars took",
    labelNames: ["driver_name", "method_name", "grpc_status_code"],
    buckets: CALL_BUCKETS,
    registers: [registry],
  });
  return ({ method, code, durationMs }) => {
    const labels = { driver_name: DRIVER, method_name: method, grpc_status_code: code };
    seconds.observe(labels, durationMs / 1000);
  };
}
