// Goal: the program answers --help, --version and every slip the same way for each command, and
// what works without an engine works on a directory store. Method: the whole program in this
// process, with streams that remember; the texts of --help are compared with the ones kept beside
// this file.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import packageJson from "../../package.json" with { type: "json" };
import type { Environment } from "./config.ts";
import { GROUPS, runProgram } from "./program.ts";

const COMMANDS = GROUPS.flatMap((group) => group.commands);

async function run(
  argv: readonly string[],
  options: { env?: Environment; signal?: AbortSignal } = {},
) {
  let stdout = "";
  let stderr = "";
  const exitCode = await runProgram(argv, {
    env: options.env ?? {},
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    clock: new FakeClock(),
    random: new SeededRandom(1),
    signal: options.signal ?? new AbortController().signal,
    hurry: new AbortController().signal,
  });
  return { exitCode, stdout, stderr };
}

/** Settings that find nothing of this machine. */
function emptyNode(): Environment {
  const folder = mkdtempSync(join(tmpdir(), "weir-program-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return {
    WEIR_STORE: `file://${folder}`,
    WEIR_STATE: join(folder, "state"),
    WEIR_RUN: join(folder, "run"),
  };
}

test("the help of the program", async () => {
  const { exitCode, stdout, stderr } = await run(["--help"]);
  expect([exitCode, stderr]).toStrictEqual([0, ""]);
  expect(stdout).toMatchSnapshot();
});

test.each(COMMANDS.map((command) => command.name))("the help of %s", async (name) => {
  const { exitCode, stdout } = await run([name, "--help"]);
  expect(exitCode).toBe(0);
  expect(stdout).toContain(`  weir ${name}`);
  expect(stdout).toMatchSnapshot();
});

test("the version is that of the package", async () => {
  expect((await run(["--version"])).stdout).toBe(`weir ${packageJson.version}\n`);
});

test.each([
  [[], "a command is missing", "weir --help"],
  [["frob"], 'there is no command "frob"', "weir --help"],
  [["create"], "`weir create` needs NAME", "weir create --help"],
  [["list", "--size", "1"], "there is no option --size for `weir list`", "weir list --help"],
])("%j is a wrong command line", async (argv, sentence, hint) => {
  const people = await run(argv);
  expect(people).toStrictEqual({
    exitCode: 2,
    stdout: "",
    stderr: `weir: ${sentence}\nTry \`${hint}\`.\n`,
  });
  const script = await run([...argv, "--json"]);
  expect([script.exitCode, JSON.parse(script.stdout)]).toStrictEqual([
    2,
    { fault: { code: "invalid-argument", message: sentence, details: {} } },
  ]);
});

test("a volume is created, listed, inspected and deleted without an engine", async () => {
  const env = emptyNode();
  const created = await run(["create", "data", "--size", "1G"], { env });
  expect(created.stdout).toMatch(/^created data \(1 GiB, uid [0-9a-f]{32}\)\n$/u);
  const list = await run(["list", "--json"], { env });
  expect(JSON.parse(list.stdout)).toMatchObject([{ name: "data", sizeBytes: 1024 ** 3 }]);
  const inspected = await run(["inspect", "data"], { env });
  expect(inspected.stdout).toContain("attached     not by an engine of this node");
  expect((await run(["delete", "data"], { env })).exitCode).toBe(0);
  expect((await run(["inspect", "data"], { env })).stderr).toContain("there is no volume");
});

test("options stand before the environment, the environment before the file", async () => {
  const env = { ...emptyNode(), WEIR_JOURNAL_SIZE: "1M" };
  const tooSmall = 'weir: the engine\'s configuration "journalBytes" is not valid';
  expect((await run(["list"], { env })).stderr).toContain(tooSmall);
  const other = emptyNode();
  const listed = await run(["list", "--store", other["WEIR_STORE"] ?? ""], { env: other });
  expect(listed.exitCode).toBe(0);
  const config = join(other["WEIR_STATE"] ?? "", "..", "engine.json");
  writeFileSync(config, '{"journalBytes": 1}');
  const fromFile = ["list", "--config", config];
  expect((await run(fromFile, { env: other })).stderr).toContain(tooSmall);
  const mended = { ...other, WEIR_JOURNAL_SIZE: "64M" };
  expect((await run(fromFile, { env: mended })).exitCode).toBe(0);
  writeFileSync(config, '{"journalByte": 1}');
  expect((await run(fromFile, { env: other })).stderr).toContain('"journalByte"');
  const slip = await run(["list"], { env: { ...other, WEIR_CACHE_RAM: "much" } });
  expect(slip.stderr).toContain("WEIR_CACHE_RAM must be a whole number of bytes");
});

test("a signal ends a command with a fault that names it", async () => {
  const controller = new AbortController();
  controller.abort(new WeirError("aborted", "stopped by SIGINT"));
  const env = emptyNode();
  const { exitCode, stderr } = await run(["list"], { env, signal: controller.signal });
  expect([exitCode, stderr]).toStrictEqual([1, "weir: stopped by SIGINT\n"]);
});
