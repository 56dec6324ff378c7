// One fio run against an NBD socket, and the figures of any fio run: what it reports, and the
// processor time the server spent per request.
import { readFileSync } from "node:fs";
import { outputOf } from "../program.ts";

export interface FioJob {
  readonly name: string;
  readonly rw: "randwrite" | "randread" | "write" | "read";
  readonly blockBytes: number;
  readonly depth: number;
  /** A flush after every so many writes. */
  readonly flushEvery?: number;
  /** A run ends after so long, or when it has transferred ioBytes. */
  readonly seconds: number;
  readonly ioBytes: number;
  readonly sizeBytes: number;
}

export interface FioFigures {
  readonly iops: number;
  readonly meanUs: number;
  readonly p99Us: number;
  /** User and system time of the server process per request. */
  readonly serverCpuUs: number;
}

/** Ticks per second of /proc/PID/stat: fixed by the kernel's user interface. */
export const TICKS_PER_SECOND = 100;

export async function runFio(
  job: FioJob,
  target: { uri: string; pid: number },
): Promise<FioFigures> {
  const before = cpuSeconds(target.pid);
  const text = await outputOf(
    [
      ...["fio", `--name=${job.name}`, "--ioengine=nbd", `--uri=${target.uri}`],
      ...[`--rw=${job.rw}`, `--bs=${job.blockBytes}`, `--iodepth=${job.depth}`],
      ...[`--size=${job.sizeBytes}`, `--io_size=${job.ioBytes}`],
      `--runtime=${job.seconds}`,
      ...(job.flushEvery === undefined ? [] : [`--fsync=${job.flushEvery}`]),
      ...["--randrepeat=0", "--norandommap", "--refill_buffers", "--output-format=json"],
    ],
    { timeoutMs: (job.seconds + 60) * 1000 },
  );
  return figuresOf(text, { rw: job.rw, serverSeconds: cpuSeconds(target.pid) - before });
}

/** Of fio's JSON report; `serverSeconds` is the processor time the server used meanwhile. */
export function figuresOf(
  text: string,
  run: { readonly rw: FioJob["rw"]; readonly serverSeconds: number },
): FioFigures {
  const side = parse(text)[run.rw.endsWith("read") ? "read" : "write"];
  return {
    iops: side.iops,
    meanUs: side.clat_ns.mean / 1000,
    p99Us: (side.clat_ns.percentile?.["99.000000"] ?? 0) / 1000,
    serverCpuUs: (run.serverSeconds * 1e6) / Math.max(side.total_ios, 1),
  };
}

/** Writes the whole range once, so that reads find data. */
export async function fill(uri: string, sizeBytes: number): Promise<void> {
  await outputOf(
    [
      ...["fio", "--name=fill", "--ioengine=nbd", `--uri=${uri}`, "--rw=write", "--bs=1M"],
      ...["--iodepth=4", `--size=${sizeBytes}`, "--refill_buffers", "--end_fsync=1"],
    ],
    { timeoutMs: 300_000 },
  );
}

interface FioSide {
  readonly iops: number;
  readonly total_ios: number;
  readonly clat_ns: {
    readonly mean: number;
    readonly percentile?: Readonly<Record<string, number>>;
  };
}

function parse(text: string): { read: FioSide; write: FioSide } {
  // fio may put notes before the document.
  const parsed: { jobs: [{ read: FioSide; write: FioSide }] } = JSON.parse(
    text.slice(text.indexOf("{")),
  );
  return parsed.jobs[0];
}

function cpuSeconds(pid: number): number {
  // Fields 14 and 15, counted behind the command's closing parenthesis: it may hold spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\)\s/su, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
