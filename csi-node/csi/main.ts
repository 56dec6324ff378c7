// Entry point of weir-csi-node: connects the node service with this process.
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { KubeApi } from "../../core/kube/kube-api.ts";
import { createLogger, logFault } from "../../core/runtime/log.ts";
import { VERSION } from "../../core/runtime/version.ts";
import { ControlClient } from "../control/control-client.ts";
import { parseNodeConfig, processEnvironment, USAGE, type NodeConfig } from "./config.ts";
import { LinuxMounter } from "./linux-mounter.ts";
import { runNode } from "./node-process.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { FIELD_MANAGER } from "./snapshot-agent.ts";

const EXIT_USAGE = 2;

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => stop.abort(new WeirError("aborted", `stopped by ${signal}`)));
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  let config: NodeConfig | undefined;
  try {
    config = parseNodeConfig(args, { driver: DRIVER, env: processEnvironment() });
  } catch (cause) {
    if (!(cause instanceof WeirError)) throw cause;
    process.stderr.write(`weir-csi-node: ${cause.message}; see --help\n`);
    return EXIT_USAGE;
  }
  if (config === undefined) {
    process.stdout.write(USAGE);
    return 0;
  }
  const log = createLogger({ level: config.logLevel, name: "csi-node" });
  const engine = new ControlClient({ socketPath: config.engineSocketPath });
  const mounter = new LinuxMounter({ clock: realClock });
  try {
    using api = config.useKubernetes ? await connect(config) : undefined;
    await runNode({
      ...{ config, engine, mounter, log, signal: stop.signal },
      ...{ clock: realClock, random: realRandom },
      api,
    });
    return 0;
  } catch (cause) {
    logFault(log, cause, "the node service cannot run");
    return 1;
  }
}

/**
 * Does not wait for the API server: kubelet is served without it. Its client is most of what this
 * program would load, so it is loaded only here.
 */
async function connect({ nodeName, kubeconfigPath }: NodeConfig): Promise<KubeApi & Disposable> {
  const [{ ClientKube }, { loadKubeConfig }] = await Promise.all([
    import("../../core/kube/client-kube.ts"),
    import("../../core/kube/kube-config.ts"),
  ]);
  return new ClientKube({
    ...{ clock: realClock, random: realRandom },
    config: await loadKubeConfig(kubeconfigPath),
    userAgent: `${FIELD_MANAGER}/${VERSION}`,
    reportingController: DRIVER,
    reportingInstance: nodeName,
  });
}
