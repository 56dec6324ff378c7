// The independent write log (native/tools/oracle.cc) as tests call it.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

import { nativeFolder } from "../../hack/native-build.ts";

interface OracleRun {
  readonly status: "done" | "stopped" | "disconnected" | "stalled";
  readonly ops: number;
  readonly acked: number;
}

interface OracleVerdict {
  readonly exitCode: number;
  readonly findings: readonly { readonly kind: string }[];
  readonly text: string;
}

const folders: string[] = [];
process.once("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function makeFolder(): string {
  const folder = mkdtempSync("/dev/shm/weir-oracle-");
  folders.push(folder);
  return folder;
}

/** A fresh place for a log; on a tmpfs, so that no crash of a disk under test can touch it. */
export function makeOracleLog(): string {
  return join(makeFolder(), "log");
}

type Ended = OracleVerdict & Partial<OracleRun>;

/** Runs `oracle COMMAND ...` to its end; its JSON line. */
export async function oracle(
  command: "run" | "verify" | "plant",
  ...args: readonly string[]
): Promise<Ended> {
  return startOracle(command, ...args).ended;
}

/** As `oracle`, for a run that is to go on until it is stopped. */
export function startOracle(
  command: "run" | "verify" | "plant",
  ...args: readonly string[]
): { readonly stop: () => void; readonly ended: Promise<Ended> } {
  const output = join(makeFolder(), "output");
  const target = openSync(output, "w");
  const child = spawn(join(nativeFolder("release"), "oracle"), [command, ...args], {
    stdio: ["ignore", target, "inherit"],
  });
  closeSync(target);
  const ended = once(child, "exit").then(() => {
    const text = readFileSync(output, "utf8");
    const line: Partial<OracleRun> & { findings?: OracleVerdict["findings"] } = JSON.parse(text);
    return { ...line, findings: line.findings ?? [], text, exitCode: child.exitCode ?? 1 };
  });
  return { stop: () => void child.kill("SIGTERM"), ended };
}
