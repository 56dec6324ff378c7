// Entry point of weir-operator: options, signals, an answer for kubelet; then the rest is loaded.
import { WeirError } from "../core/runtime/errors.ts";
import { createLogger, logFault } from "../core/runtime/log.ts";
import { parseOperatorConfig, processEnvironment, USAGE, type OperatorConfig } from "./config.ts";
import { Health } from "../core/runtime/health.ts";

const EXIT_USAGE = 2;

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => stop.abort(new WeirError("aborted", `stopped by ${signal}`)));
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  let config: OperatorConfig | undefined;
  try {
    config = parseOperatorConfig(args, processEnvironment());
  } catch (cause) {
    if (!(cause instanceof WeirError)) throw cause;
    process.stderr.write(`weir-operator: ${cause.message}; see --help\n`);
    return EXIT_USAGE;
  }
  if (config === undefined) {
    process.stdout.write(USAGE);
    return 0;
  }
  const log = createLogger({ level: config.logLevel, name: "operator" });
  log.info("starting");
  try {
    const { httpEndpoint } = config;
    await using health = httpEndpoint === undefined ? undefined : await Health.serve(httpEndpoint);
    const { run } = await import("./run.ts");
    await run({ config, log, health, signal: stop.signal });
    return 0;
  } catch (cause) {
    logFault(log, cause, "the operator has ended");
    return 1;
  }
}
