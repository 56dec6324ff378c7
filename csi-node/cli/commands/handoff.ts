// Replaces the engine that serves this node by this release, while its volumes are in use: what an
// upgrade does in Kubernetes, for people without it.
import { spawn } from "node:child_process";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";

import { WeirError } from "../../../core/runtime/errors.ts";
import { sentenceOf, type HandoffReport } from "../../handoff/report.ts";
import type { Owners } from "../../handoff/owners.ts";
import { needEngine, type Cli } from "../cli.ts";
import type { OptionValues } from "../options.ts";
import type { Command } from "../command.ts";
import { openNodeProcess, ownersOf } from "../node-process.ts";
import { SIZE_OPTIONS } from "./serve.ts";

const DEADLINE_MS = 10 * 60_000;
const POLL_MS = 200;

export const handoff: Command = {
  name: "handoff",
  summary: "replace this node's engine by this release, without interrupting its volumes",
  details: [
    "Starts `weir serve --take-over` in the background (its log: engine.log in the run " +
      "directory) and ends the former engine when the new one serves. What fails leaves the " +
      "former one serving.",
    "With --dry-run the new engine loads everything, says how long it took, and goes again.",
  ],
  arguments: [],
  options: { ...SIZE_OPTIONS, "dry-run": { help: "stop when everything is loaded" } },
  examples: ["weir handoff --dry-run", "weir handoff --json"],
  async run({ cli, options }) {
    await needEngine(cli);
    if (options.flag("dry-run")) return tryOut(cli);
    await replace(cli, givenOptions(options));
  },
};

async function tryOut(cli: Cli): Promise<void> {
  await using opened = await openNodeProcess(cli);
  const result = await opened.node.tryWarm(cli.signal);
  if (result.kind !== "warm") {
    const reason = "reason" in result ? result.reason : "it took over";
    throw new WeirError("aborted", `the handoff would not work: ${reason}`);
  }
  const { phasesMs } = result;
  cli.out.result({
    json: { dryRun: true, ready: true, phasesMs },
    text: [`everything was loaded in ${Math.round(phasesMs["loading"] ?? 0)} ms: it would work`],
  });
}

/** As the new engine must be given them; the environment it inherits. */
function givenOptions(options: OptionValues): readonly string[] {
  return ["config", ...Object.keys(SIZE_OPTIONS)].flatMap((name) => {
    const value = options.text(name);
    return value === undefined ? [] : [`--${name}=${value}`];
  });
}

async function replace(cli: Cli, given: readonly string[]): Promise<void> {
  const owners = await ownersOf(cli.settings.engine.runDirectory);
  const former = await owners.owner(await owners.newest());
  const pid = await startSuccessor(cli, owners, given);
  const engine = await needEngine(cli);
  const { handoff: report } = await engine.status({ signal: cli.signal });
  if (former !== undefined && former.pid !== pid) endFormer(former.pid);
  cli.out.result({ json: { pid, handoff: report }, text: [textOf(pid, report)] });
}

/** Resolves with its pid when it owns the node's volumes. */
async function startSuccessor(cli: Cli, owners: Owners, given: readonly string[]): Promise<number> {
  const { clock, signal, settings, out } = cli;
  const { storeUrl, engine } = settings;
  const logPath = join(engine.runDirectory, "engine.log");
  const program = process.argv[1] ?? "";
  const places = ["--store", storeUrl, "--state", engine.stateDirectory];
  const argv = [program, "serve", "--take-over", ...places, "--run", engine.runDirectory, ...given];
  const before = await readFile(logPath, "utf8").catch(() => "");
  await using logFile = await open(logPath, "a", 0o600);
  const stdio = ["ignore", logFile.fd, logFile.fd] as const;
  const child = spawn(process.execPath, argv, { stdio: [...stdio], detached: true });
  out.note(`the new engine has pid ${child.pid}, and logs to ${logPath}`);
  using deadline = clock.deadline(DEADLINE_MS, signal);
  for (let shown = 0; ;) {
    await clock.sleep(POLL_MS, deadline);
    const lines = (await readFile(logPath, "utf8")).slice(before.length).split("\n");
    // Its notes for people; its log lines are JSON.
    const progress = lines.filter((line) => line.startsWith("loaded "));
    for (const line of progress.slice(shown)) out.note(line);
    shown = progress.length;
    if (child.exitCode !== null || child.signalCode !== null) throw failed(logPath);
    const owner = await owners.owner(await owners.newest());
    if (owner?.pid === child.pid && child.pid !== undefined && isReady(lines)) {
      child.unref();
      return child.pid;
    }
  }
}

function isReady(lines: readonly string[]): boolean {
  return lines.some((line) => line.startsWith("ready store="));
}

/** It waits for a signal since it handed over. */
function endFormer(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch {
    // It ended by itself, which is what this is for.
  }
}

function failed(logPath: string): WeirError {
  return new WeirError(
    "aborted",
    "the new engine ended before it took over, and the former one serves as before: see its log",
    { details: { log: logPath } },
  );
}

function textOf(pid: number, report: HandoffReport | null): string {
  return report === null ? `pid ${pid} serves` : `pid ${pid}: ${sentenceOf(report)}`;
}
