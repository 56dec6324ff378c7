// Weir over ublk in a guest, beside bare targets of our own server in the same boot: `file` does
// one pread or pwrite per request, `null` none at all. Software emulation makes absolute figures
// meaningless; the ratios are what counts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "../places.ts";
import { runInGuest } from "../vm/guest.ts";
import { KERNELS } from "../vm/kernels.ts";
import { atLeast, inform, median, type Row } from "./rows.ts";

const BARS = [
  { job: "randwrite-1", name: "4k randwrite QD1", bar: 0.9 },
  { job: "randwrite-32", name: "4k randwrite QD32", bar: 0.8 },
] as const;

/** One line of the guest: `result TARGET JOB ROUND IOPS MEAN_US P99_US CPU_US`. */
interface Result {
  readonly target: string;
  readonly job: string;
  readonly iops: number;
  readonly meanUs: number;
  readonly p99Us: number;
  readonly cpuUs: number;
}

export async function benchUblk(options: {
  readonly pairs: number;
  readonly seconds: number;
}): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const kernel of KERNELS) {
    const script = readFileSync(join(checkout, "test", "vm", "bench-ublk.sh"), "utf8");
    const end = await runInGuest({
      kernel,
      script: `ROUNDS=${options.pairs} SECONDS_EACH=${options.seconds}\n${script}`,
      memoryMiB: 6144,
      timeoutMs: 900_000,
    });
    if (end.exitCode !== 0 || end.complaints.length > 0) {
      throw new Error(`the guest failed:\n${end.output}\n${end.complaints.join("\n")}`);
    }
    rows.push(...rowsOf(kernel, parseResults(end.output)));
  }
  return rows;
}

function rowsOf(kernel: string, results: readonly Result[]): readonly Row[] {
  const rows: Row[] = [];
  for (const { job, name, bar } of BARS) {
    const of = (target: string, pick: (result: Result) => number): number =>
      median(results.filter((result) => result.target === target && result.job === job).map(pick));
    const label = `ublk ${kernel}, ${name}`;
    rows.push(
      atLeast(
        `${label}: weir / file target`,
        of("weir", (r) => r.iops) / of("file", (r) => r.iops),
        "ratio",
        bar,
      ),
    );
    for (const target of ["weir", "file", "null"]) {
      rows.push(
        inform(
          `${label}: ${target}`,
          of(target, (r) => r.iops),
          "IOPS",
        ),
      );
      rows.push(
        inform(
          `${label}: ${target} mean`,
          of(target, (r) => r.meanUs),
          "us",
        ),
      );
      rows.push(
        inform(
          `${label}: ${target} p99`,
          of(target, (r) => r.p99Us),
          "us",
        ),
      );
      rows.push(
        inform(
          `${label}: ${target} CPU per I/O`,
          of(target, (r) => r.cpuUs),
          "us",
        ),
      );
    }
  }
  return rows;
}

function parseResults(output: string): readonly Result[] {
  return output
    .split("\n")
    .filter((line) => line.startsWith("result "))
    .map((line) => {
      const [, target = "", job = "", , iops, meanUs, p99Us, cpuUs] = line.split(" ");
      return {
        target,
        job,
        iops: Number(iops),
        meanUs: Number(meanUs),
        p99Us: Number(p99Us),
        cpuUs: Number(cpuUs),
      };
    });
}
