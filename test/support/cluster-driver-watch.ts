// Watches whether kubelet has the driver registered on the nodes: every change of every CSINode, as
// the API server sends it, so that no absence is too short to be seen.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { kubectlCommand } from "../../hack/cluster/kubectl.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { eventually } from "./cluster.ts";

export interface DriverWatch extends AsyncDisposable {
  /** Nodes that were seen without the driver, each time they were. */
  readonly lostOn: readonly string[];
}

/** Resolves when the driver was seen on every one of the nodes. */
export async function watchDriver(nodes: readonly string[]): Promise<DriverWatch> {
  const drivers = "{.spec.drivers[*].name}";
  const format = `jsonpath={.metadata.name} ${drivers}{"\\n"}`;
  const [file = "", ...args] = [
    ...(await kubectlCommand()),
    ...["get", "csinodes", "--watch", `--output=${format}`],
  ];
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  const seenOn = new Set<string>();
  const lostOn: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [node = "", ...names] = line.split(" ");
    if (names.includes(DRIVER)) seenOn.add(node);
    else if (nodes.includes(node)) lostOn.push(node);
  });
  const ended = once(child, "exit");
  const isWatched = async () => (nodes.every((node) => seenOn.has(node)) ? true : undefined);
  await eventually("the driver is registered on every node", isWatched);
  return {
    lostOn,
    async [Symbol.asyncDispose]() {
      // A watch that ended by itself saw nothing from then on.
      if (child.exitCode !== null) throw new Error("The watch of CSINode ended before the test.");
      child.kill("SIGTERM");
      await ended;
    },
  };
}
