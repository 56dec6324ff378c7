// The operator with the real store and the real API server. Apart from main.ts because loading what
// is imported here takes most of a start, and kubelet must have an answer before.
import { ClientKube } from "../core/kube/client-kube.ts";
import { loadKubeConfig } from "../core/kube/kube-config.ts";
import type { Logger } from "../core/runtime/log.ts";
import { realClock, realRandom } from "../core/runtime/real-ports.ts";
import { openStore } from "../core/store/open-store.ts";
import type { OperatorConfig } from "./config.ts";
import { DRIVER } from "../core/csi/driver.ts";
import { OPERATOR_MANAGER } from "./driver.ts";
import type { Health } from "../core/runtime/health.ts";
import { runOperator } from "./operator-process.ts";
import { VERSION } from "../core/runtime/version.ts";

export async function run(options: {
  readonly config: OperatorConfig;
  readonly log: Logger;
  readonly health: Health | undefined;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { config, log } = options;
  const ports = { clock: realClock, random: realRandom };
  await using store = await openStore(config.storeUrl, ports);
  using api = new ClientKube({
    ...ports,
    config: await loadKubeConfig(config.kubeconfigPath),
    userAgent: `${OPERATOR_MANAGER}/${VERSION}`,
    reportingController: DRIVER,
    reportingInstance: config.instance,
  });
  log.info({ version: VERSION, store: store.label }, "the operator runs");
  await runOperator({ ...options, ...ports, api, store });
}
