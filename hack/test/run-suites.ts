// Runs suites and tells of each in one line, with everything it printed when it failed. At the end
// failures are named once more; the last line of all is `N passed, N failed`.
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkout } from "../places.ts";
import { runProgram } from "../program.ts";
import type { Counts, Suite, SuiteContext } from "./suite.ts";
import { failuresIn } from "./told.ts";

/** After this no further suite is started; those that were not are failures. */
const wholeRunMs = 75 * 60_000;

/** True when everything passed. */
export async function runSuites(suites: readonly Suite[]): Promise<boolean> {
  const logs = mkdtempSync(join(tmpdir(), "weir-test-"));
  const deadline = performance.now() + wholeRunMs;
  const total = { passed: 0, failed: 0 };
  const told: string[] = [];
  const runLane = async (lane: Suite["lane"]) => {
    for (const [index, suite] of suites.entries()) {
      if (suite.lane === lane) {
        const folder = join(logs, String(index));
        const counts = await runSuite(suite, folder, deadline);
        total.passed += counts.passed;
        total.failed += counts.failed;
        if (counts.failed > 0) told.push(`${suite.area}, ${suite.name}:`, ...said(folder));
      }
    }
  };
  await Promise.all([runLane("host"), runLane("guest")]);
  if (total.failed === 0) {
    rmSync(logs, { recursive: true });
  } else {
    console.log([...told, `logs: ${logs}`].join("\n"));
  }
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0;
}

async function runSuite(suite: Suite, folder: string, deadline: number): Promise<Counts> {
  mkdirSync(folder);
  const context = contextOf(suite, folder);
  const begin = performance.now();
  let counts: Counts = { passed: 0, failed: 1 };
  if (begin > deadline) {
    context.log("not started: the whole run took too long");
  } else {
    try {
      counts = await suite.run(context);
    } catch (error) {
      context.log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  const result = `${counts.passed} passed${counts.failed > 0 ? `, ${counts.failed} FAILED` : ""}`;
  const name = `${suite.area.padEnd(11)} ${suite.name.padEnd(28)}`;
  console.log(`${name} ${result.padEnd(24)} ${seconds.padStart(6)} s`);
  if (counts.failed > 0 && existsSync(context.logFile)) {
    console.log(readFileSync(context.logFile, "utf8"));
  }
  return counts;
}

function said(folder: string): readonly string[] {
  const file = logFileIn(folder);
  return existsSync(file) ? failuresIn(readFileSync(file, "utf8")) : [];
}

const logFileIn = (folder: string): string => join(folder, "log");

function contextOf(suite: Suite, folder: string): SuiteContext {
  const logFile = logFileIn(folder);
  const log = (text: string) => {
    appendFileSync(logFile, text.endsWith("\n") ? text : `${text}\n`);
  };
  return {
    folder,
    logFile,
    timeLimitMs: suite.timeLimitMs,
    log,
    async run(...command) {
      const { timeLimitMs: timeoutMs } = suite;
      const end = await runProgram({
        command,
        cwd: checkout,
        timeoutMs,
        output: { file: logFile },
      });
      if (end.timedOut) {
        log(`${command.join(" ")}: stopped after ${timeoutMs / 1000} s`);
      }
      return end;
    },
  };
}
