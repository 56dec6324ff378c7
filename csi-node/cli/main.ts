// Entry point of the `weir` command: connects the program with this process.
import { WeirError } from "../../core/runtime/errors.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { processEnvironment } from "./config.ts";
import { runProgram } from "./program.ts";

const first = new AbortController();
const second = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    const reason = new WeirError("aborted", `stopped by ${signal}`);
    (first.signal.aborted ? second : first).abort(reason);
  });
}
// A reader that went away (`weir list | head`) is no fault.
process.stdout.on("error", () => undefined);

process.exitCode = await runProgram(process.argv.slice(2), {
  env: processEnvironment(),
  stdout: process.stdout,
  stderr: process.stderr,
  clock: realClock,
  random: realRandom,
  signal: first.signal,
  hurry: second.signal,
});
