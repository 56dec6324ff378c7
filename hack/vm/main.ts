// bash hack/run vm --kernel 6.12|7.2 [--cpus 2] [--memory 4G] [--disk 8G] [--network] [--minutes
// 10] -- COMMAND: runs a command in a guest, shows its output, and ends with its status.
import { parseArgs } from "node:util";
import { ensurePackages } from "../packages.ts";
import { runInGuest } from "./guest.ts";
import { KERNELS } from "./kernels.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kernel: { type: "string", default: "6.12" },
    cpus: { type: "string", default: "2" },
    memory: { type: "string", default: "4G" },
    disk: { type: "string", default: "8G" },
    network: { type: "boolean", default: false },
    minutes: { type: "string", default: "10" },
    "kernel-log": { type: "boolean", default: false },
  },
});
const kernel = KERNELS.find((name) => name === values.kernel);
if (kernel === undefined || positionals.length === 0) {
  console.error(`usage: hack/run vm --kernel ${KERNELS.join("|")} -- COMMAND [ARGUMENTS]`);
  process.exit(2);
}
await ensurePackages(["vm", "disk"]);
const end = await runInGuest({
  kernel,
  script: positionals.map(quote).join(" "),
  cpus: Number(values.cpus),
  memoryMiB: mebibytes(values.memory),
  diskMiB: mebibytes(values.disk),
  network: values.network ? "user" : "none",
  timeoutMs: Number(values.minutes) * 60_000,
});
process.stdout.write(end.output);
if (values["kernel-log"]) {
  process.stderr.write(end.kernelLog);
}
for (const complaint of end.complaints) {
  console.error(complaint);
}
process.exit(end.exitCode === 0 && end.complaints.length > 0 ? 1 : end.exitCode);

/** One argument stays one word; a single argument is a command line and stays as it is. */
function quote(argument: string): string {
  return positionals.length === 1 ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

/** `4G` or `512M` as MiB. */
function mebibytes(size: string): number {
  const [, digits, unit] = /^(\d+)([GM])$/u.exec(size) ?? [];
  if (digits === undefined) {
    throw new Error(`${size} is not a size: say 512M or 4G.`);
  }
  return Number(digits) * (unit === "G" ? 1024 : 1);
}
