// npm run cluster -- up [--nodes 2] [--kernel 7.2] [--memory 4096] | down | status
//   | test [FILE ...] | e2e [--minutes 20] [--focus RE] | kubectl ...
// A real Kubernetes on this machine, without containers and without downloads of programs: control
// plane and S3 server in a network of their own, each node a guest. What runs already is kept.
import { parseArgs } from "node:util";
import { ensurePackages } from "../packages.ts";
import { KERNELS } from "../vm/kernels.ts";
import { bringUp, forgetCluster } from "./cluster.ts";
import { daemonLog, daemonNames, daemonPid } from "./daemons.ts";
import { runE2e } from "./e2e.ts";
import { kubectl, kubectlInteractive } from "./kubectl.ts";
import { adminConfig, NODES_MAX, s3Endpoint } from "./layout.ts";
import { runProgram } from "../program.ts";

const TESTS_MS = 60 * 60_000;

const [command, ...rest] = process.argv.slice(2);
switch (command) {
  case "up":
    await up(rest);
    break;
  case "down":
    await forgetCluster();
    break;
  case "status":
    await status();
    break;
  case "test":
    process.exitCode = await runTests(rest);
    break;
  case "e2e":
    process.exitCode = await runE2e(rest);
    break;
  case "kubectl":
    process.exitCode = await kubectlInteractive(rest);
    break;
  case undefined:
  default:
    console.error("usage: npm run cluster -- up|down|status|test|e2e|kubectl ...");
    process.exitCode = 2;
}

async function up(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      nodes: { type: "string", default: "2" },
      kernel: { type: "string", default: "7.2" },
      memory: { type: "string", default: "4096" },
      "without-chart": { type: "boolean", default: false },
    },
  });
  const kernel = KERNELS.find((name) => name === values.kernel);
  const nodes = Number(values.nodes);
  const memoryMiB = Number(values.memory);
  if (kernel === undefined) throw new Error(`--kernel is one of ${KERNELS.join(", ")}.`);
  if (!(nodes >= 1 && nodes <= NODES_MAX)) throw new Error(`--nodes is 1 to ${NODES_MAX}.`);
  await ensurePackages(["build", "vm", "disk", "kubernetes", "cluster"]);
  await bringUp({ nodes, kernel, memoryMiB, chart: !values["without-chart"] });
  console.log(`export KUBECONFIG=${adminConfig}`);
}

/** The scenarios of test/cluster, on the cluster that is up. */
async function runTests(files: readonly string[]): Promise<number> {
  // One after another: some of them take nodes and programs away from all others.
  const alone = ["--project", "cluster", "--no-file-parallelism"] as const;
  const command = ["vitest", "run", ...alone, ...files] as const;
  const end = await runProgram({ command, output: "inherit", timeoutMs: TESTS_MS });
  return end.exitCode ?? 1;
}

async function status(): Promise<void> {
  const names = daemonNames();
  if (names.length === 0) {
    console.log("There is no cluster: npm run cluster -- up");
    process.exitCode = 1;
    return;
  }
  for (const name of names) {
    const pid = daemonPid(name);
    const state = pid === undefined ? `ended, see ${daemonLog(name)}` : `runs as ${pid}`;
    console.log(`${name.padEnd(24)} ${state}`);
  }
  console.log(`S3 at ${s3Endpoint}\nexport KUBECONFIG=${adminConfig}`);
  process.stdout.write(await kubectl(["get", "nodes,pods", "-A", "-o", "wide"]));
}
