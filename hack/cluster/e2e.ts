// npm run cluster -- e2e [--minutes 20] [--focus RE] [--at-once 2] [--list]: Kubernetes' own suite
// for storage drivers, as many of its specs as fit into the minutes, on the cluster that is up.
// Each spec is a process of its own, so that the order is ours and every one has its own log.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkout } from "../places.ts";
import { runProgram } from "../program.ts";
import { goTools } from "../tools/go-tool.ts";
import { chooseSpecs, nameOf, parseReport, type Choice, type Spec } from "./e2e-specs.ts";
import { adminConfig, stateFolder } from "./layout.ts";

const MANIFEST = join(checkout, "test/cluster/e2e-driver.yaml");
const folder = join(stateFolder, "e2e");
/** The suite gives up first and cleans up after itself. */
const SPEC_MINUTES = 15;
const SPEC_MS = (SPEC_MINUTES + 5) * 60_000;
/** Most specs end within this: none starts when less is left. */
const TYPICAL_MS = 90_000;
const COMPLAINT_LINES = 40;

interface Settings {
  readonly endMs: number;
  readonly atOnce: number;
  readonly program: string;
  readonly registries: string;
}

interface Result {
  readonly spec: Spec;
  readonly state: "passed" | "failed" | "skipped";
  readonly seconds: number;
  readonly complaint: string;
}

/** Resolves to the exit status. */
export async function runE2e(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: "20" },
      focus: { type: "string", default: "" },
      "at-once": { type: "string", default: "2" },
      list: { type: "boolean", default: false },
    },
  });
  const endMs = performance.now() + Number(values.minutes) * 60_000;
  const atOnce = Number(values["at-once"]);
  if (!(endMs > 0) || !(atOnce >= 1)) throw new Error("--minutes and --at-once take numbers.");
  const program = (await goTools("kubernetes", ["e2e.test"]))("e2e.test");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const choice = await listSpecs(program, new RegExp(values.focus, "u"));
  if (values.list) {
    for (const [index, spec] of choice.wanted.entries()) console.log(index + 1, nameOf(spec));
    tellLeft(choice);
    return 0;
  }
  const registries = writeRegistries();
  const settings = { endMs, atOnce, program, registries };
  const results = await runInTime(choice.wanted, settings);
  return summarize(choice, results);
}

async function listSpecs(program: string, only: RegExp): Promise<Choice> {
  const report = join(folder, "list.json");
  const command = [
    ...[program, `-storage.testdriver=${MANIFEST}`, "--ginkgo.dry-run"],
    ...["--ginkgo.focus=External.Storage", `--ginkgo.json-report=${report}`],
  ];
  const log = { file: join(folder, "list.log") };
  const end = await runProgram({ command, output: log, timeoutMs: 120_000 });
  if (end.exitCode !== 0) throw new Error(`The suite cannot be listed:\n${tailOf(log.file)}`);
  const choice = chooseSpecs(parseReport(readFileSync(report, "utf8")), only);
  if (choice.wanted.length === 0) throw new Error("No spec of the suite is chosen.");
  return choice;
}

/** For KUBE_TEST_REPO_LIST: nodes hold the suite's images under such names (see images.ts). */
function writeRegistries(): string {
  const file = join(folder, "registries.yaml");
  const names = ["promoterE2eRegistry", "gcRegistry", "sigStorageRegistry", "buildImageRegistry"];
  writeFileSync(file, names.map((name) => `${name}: localhost\n`).join(""));
  return file;
}

async function runInTime(specs: readonly Spec[], settings: Settings): Promise<readonly Result[]> {
  const results: Result[] = [];
  const turns = async (queue: Iterator<[number, Spec]>): Promise<void> => {
    while (performance.now() + TYPICAL_MS < settings.endMs) {
      const next = queue.next();
      if (next.done === true) return;
      const [index, spec] = next.value;
      const result = await runSpec(spec, index, settings);
      results.push(result);
      tellProgress(result, { count: results.length, of: specs.length });
    }
  };
  // One queue for all who work: an entry is taken by one of them.
  const numbered = [...specs.entries()];
  const together = numbered.filter(([, spec]) => !spec.isAlone).values();
  await Promise.all(Array.from({ length: settings.atOnce }, () => turns(together)));
  await turns(numbered.filter(([, spec]) => spec.isAlone).values());
  return results;
}

async function runSpec(spec: Spec, index: number, settings: Settings): Promise<Result> {
  const startMs = performance.now();
  const base = join(folder, String(index + 1).padStart(3, "0"));
  const log = { file: `${base}.log` };
  await runProgram({
    command: [
      ...["nice", settings.program, `-storage.testdriver=${MANIFEST}`],
      ...[`--kubeconfig=${adminConfig}`, "--ginkgo.v", "--ginkgo.no-color"],
      ...[`--ginkgo.timeout=${SPEC_MINUTES}m`, `--ginkgo.json-report=${base}.json`],
      `--ginkgo.focus= ${RegExp.escape(spec.text)}$`,
    ],
    env: { KUBE_TEST_REPO_LIST: settings.registries },
    output: log,
    timeoutMs: SPEC_MS,
  });
  const seconds = (performance.now() - startMs) / 1000;
  return { spec, seconds, ...outcomeOf(base, log.file) };
}

/** A suite that died before its report failed, too; so did one whose set-up failed. */
function outcomeOf(base: string, log: string): Pick<Result, "state" | "complaint"> {
  let report;
  try {
    report = parseReport(readFileSync(`${base}.json`, "utf8"));
  } catch (cause) {
    return { state: "failed", complaint: `${String(cause)}\n${tailOf(log)}` };
  }
  const bad = report.find(({ State }) => !["passed", "skipped"].includes(State));
  if (bad !== undefined) {
    return { state: "failed", complaint: bad.Failure?.Message ?? tailOf(log) };
  }
  const ran = report.find(({ LeafNodeType, State }) => LeafNodeType === "It" && State === "passed");
  if (ran !== undefined) return { state: "passed", complaint: "" };
  // Those that were not chosen are skipped without a word.
  const told = report.find(({ LeafNodeType, Failure }) => LeafNodeType === "It" && Failure);
  if (told === undefined) return { state: "failed", complaint: "the suite did not find the spec" };
  return { state: "skipped", complaint: told.Failure?.Message ?? "" };
}

function tellProgress(result: Result, progress: { count: number; of: number }): void {
  const { state, seconds, spec, complaint } = result;
  const place = `[${progress.count}/${progress.of}]`;
  console.log(`${place} ${state} ${seconds.toFixed(0)} s  ${nameOf(spec)}`);
  if (state === "failed") console.log(complaint);
}

function summarize(choice: Choice, results: readonly Result[]): number {
  const of = (state: Result["state"]) => results.filter((result) => result.state === state);
  const done = new Set(results.map(({ spec }) => spec));
  const late = choice.wanted.filter((spec) => !done.has(spec));
  const [passed, failed, skipped] = [of("passed"), of("failed"), of("skipped")];
  tellGroup("passed", passed.map(describe));
  tellGroup(
    "skipped by the suite",
    skipped.map((one) => `${describe(one)}: ${firstLine(one.complaint)}`),
  );
  tellGroup("not run, no time left", late.map(nameOf));
  tellLeft(choice);
  tellGroup(
    `failed, logs in ${folder}`,
    failed.map((one) => `${describe(one)}: ${firstLine(one.complaint)}`),
  );
  const left = [...choice.left.values()].flat().length;
  console.log(
    `\nran ${passed.length + failed.length}: ${passed.length} passed, ${failed.length} failed; ` +
      `${skipped.length} skipped by the suite, ${late.length} without time, ${left} not for us`,
  );
  // Nothing passed is no success either.
  return failed.length === 0 && passed.length > 0 ? 0 : 1;
}

function tellLeft(choice: Choice): void {
  for (const [reason, names] of choice.left) console.log(`\nnot run, ${reason}: ${names.length}`);
}

function tellGroup(title: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  console.log(`\n${title}: ${lines.length}`);
  for (const line of lines) console.log(`  ${line}`);
}

function describe({ spec, seconds }: Result): string {
  return `${nameOf(spec)} (${seconds.toFixed(0)} s)`;
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}

function tailOf(file: string): string {
  return readFileSync(file, "utf8").split("\n").slice(-COMPLAINT_LINES).join("\n");
}
