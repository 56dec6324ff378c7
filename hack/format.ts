// npm run format: puts TypeScript, JSON and C++ into the one format; with --check only says where
// they are not in it.
import { checkout } from "./places.ts";
import { ensurePackages } from "./packages.ts";
import { runProgram } from "./program.ts";
import { sourceFiles } from "./sources.ts";

const check = process.argv.includes("--check");
await ensurePackages(["check"]);
const native = await sourceFiles("native/*.cc", "native/*.h");
const commands = [
  ["oxfmt", check ? "--check" : "--write"],
  ["clang-format-14", ...(check ? ["--dry-run", "-Werror"] : ["-i"]), ...native],
];
let exitCode = 0;
for (const command of commands) {
  const end = await runProgram({ command, cwd: checkout, timeoutMs: 120_000, output: "inherit" });
  exitCode = Math.max(exitCode, end.exitCode);
}
process.exit(exitCode);
