// Runs scripts as root on a node, by way of the folder that it shares with this machine.
import { closeSync, constants, existsSync, mkdirSync, openSync } from "node:fs";
import { readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { until } from "./daemons.ts";
import type { ClusterNode } from "./layout.ts";
import { callPipe, shareFolder } from "./node-files.ts";

export interface ScriptEnd {
  readonly exitCode: number;
  readonly output: string;
}

export async function runOnNode(
  node: ClusterNode,
  options: { readonly script: string; readonly timeoutMs: number },
): Promise<ScriptEnd> {
  const folder = join(shareFolder(node), "run");
  mkdirSync(folder, { recursive: true });
  const name = randomUUID();
  const base = join(folder, name);
  writeFileSync(`${base}.sh`, options.script);
  callNode(node, name);
  try {
    if (!(await until(() => existsSync(`${base}.status`), options.timeoutMs))) {
      throw new Error(`A script on ${node.name} did not end within ${options.timeoutMs} ms.`);
    }
    const exitCode = Number(readFileSync(`${base}.status`, "utf8"));
    return { exitCode, output: readFileSync(`${base}.output`, "utf8") };
  } finally {
    for (const end of ["sh", "output", "status"]) rmSync(`${base}.${end}`, { force: true });
  }
}

/** Fails rather than waits when the node is off: then nobody reads from the other end. */
function callNode(node: ClusterNode, name: string): void {
  const pipe = openSync(`${callPipe(node)}.in`, constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(pipe, `${name}\n`);
  closeSync(pipe);
}
