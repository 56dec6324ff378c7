// Weir over ublk in a guest, beside bare targets of our own server in the same boot: `file` does
// one pread or pwrite per request, `null` none at all. Software emulation makes absolute figures
// meaningless; the ratios are what counts.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "../places.ts";
import { runInGuest } from "../vm/guest.ts";
import { KERNELS } from "../vm/kernels.ts";
import { figuresOf, TICKS_PER_SECOND, type FioFigures } from "./fio.ts";
import { atLeast, inform, median, type Row } from "./rows.ts";

const JOBS = [
  { rw: "randwrite", depth: 1, bar: 0.9 },
  { rw: "randwrite", depth: 32, bar: 0.8 },
  { rw: "randread", depth: 1, bar: 0.9 },
  { rw: "randread", depth: 32, bar: 0.8 },
] as const;

type Job = (typeof JOBS)[number];

const TARGETS = ["weir", "file", "null"] as const;
type Target = (typeof TARGETS)[number];

interface UblkBenchOptions {
  readonly folder: string;
  /** In each all targets take their turn; emulated, one round is off by a twentieth. */
  readonly rounds: number;
  readonly seconds: number;
}

export async function benchUblk(options: UblkBenchOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const script = readFileSync(join(checkout, "test", "vm", "bench-ublk.sh"), "utf8");
  for (const kernel of KERNELS) {
    const share = join(options.folder, `ublk-${kernel}`);
    mkdirSync(share);
    const end = await runInGuest({
      kernel,
      script: `ROUNDS=${options.rounds} SECONDS_EACH=${options.seconds}\n${script}`,
      memoryMiB: 6144,
      diskMiB: 20_480,
      shareFolder: share,
      timeoutMs:
        (JOBS.length * TARGETS.length * options.rounds * (options.seconds + 20) + 300) * 1000,
    });
    if (end.exitCode !== 0 || end.complaints.length > 0) {
      throw new Error(`the guest failed:\n${end.output}\n${end.complaints.join("\n")}`);
    }
    for (const job of JOBS) {
      rows.push(...compare({ share, kernel, job, rounds: options.rounds }));
    }
    rmSync(share, { recursive: true });
  }
  return rows;
}

/** The median of the rounds' ratios against the bar, and each target's own figures. */
function compare(run: { share: string; kernel: string; job: Job; rounds: number }): Row[] {
  const { rw, depth, bar } = run.job;
  const rounds = Array.from({ length: run.rounds }, (_, index) => index + 1);
  const read = (target: Target, round: number): FioFigures => {
    const report = join(run.share, "fio", `${target}.${rw}-${depth}.${round}`);
    const ticks = Number(readFileSync(`${report}.ticks`, "utf8"));
    return figuresOf(readFileSync(report, "utf8"), { rw, serverSeconds: ticks / TICKS_PER_SECOND });
  };
  const ratios = rounds.map((round) => read("weir", round).iops / read("file", round).iops);
  const label = `ublk ${run.kernel}, 4k ${rw} QD${depth}`;
  const rows = [atLeast(`${label}: weir / file target`, median(ratios), "ratio", bar)];
  for (const target of TARGETS) {
    const figures = rounds.map((round) => read(target, round));
    const middle = (pick: (figures: FioFigures) => number) => median(figures.map(pick));
    rows.push(
      inform(
        `${label}: ${target}`,
        middle(({ iops }) => iops),
        "IOPS",
      ),
      inform(
        `${label}: ${target} mean`,
        middle(({ meanUs }) => meanUs),
        "us",
      ),
      inform(
        `${label}: ${target} p99`,
        middle(({ p99Us }) => p99Us),
        "us",
      ),
      inform(
        `${label}: ${target} CPU per I/O`,
        middle(({ serverCpuUs }) => serverCpuUs),
        "us",
      ),
    );
  }
  return rows;
}
