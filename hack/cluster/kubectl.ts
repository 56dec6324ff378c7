// kubectl as the cluster's administrator.
import { spawnSync } from "node:child_process";
import { outputOf } from "../program.ts";
import { goTools } from "../tools/go-tool.ts";
import { adminConfig } from "./layout.ts";

export async function kubectl(
  args: readonly string[],
  options: { readonly timeoutMs?: number } = {},
): Promise<string> {
  return outputOf([...(await kubectlCommand()), ...args], options);
}

/** On the caller's terminal; returns the exit status. */
export async function kubectlInteractive(args: readonly string[]): Promise<number> {
  const [file = "", ...rest] = await kubectlCommand();
  return spawnSync(file, [...rest, ...args], { stdio: "inherit" }).status ?? 1;
}

/** How it is called here; arguments follow. */
export async function kubectlCommand(): Promise<readonly string[]> {
  const tool = await goTools("kubernetes", ["kubectl"]);
  return [tool("kubectl"), `--kubeconfig=${adminConfig}`];
}
