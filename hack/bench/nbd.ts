// Weir over NBD against `nbdkit file` on the same disk, in turn, so that a machine that changes its
// speed changes it for both; the median of the pairs' ratios is held against the bar.
//
// Both work in files that were written before and lie in the page cache: a guest's first touch of
// memory can cost more than all the rest of a write, and it is no property of either server. So the
// journal has been round once when a series begins, and each run is bounded in bytes.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { startVersitygw } from "../../test/support/versitygw.ts";
import { fill, runFio, type FioFigures, type FioJob } from "./fio.ts";
import { atLeast, inform, median, type Row } from "./rows.ts";
import { startNbdkit, startWeir, type Target } from "./servers.ts";

const GIB = 1024 ** 3;
const SIZE_BYTES = GIB;
const IO_BYTES = GIB / 2;
/** Far above what a run leaves dirty, so that no write is slowed down. */
const JOURNAL_BYTES = 2 * GIB;

interface Pairing {
  readonly job: Omit<FioJob, "seconds" | "ioBytes" | "sizeBytes">;
  readonly bar: number;
}

const held: readonly Pairing[] = [
  { job: { name: "4k randwrite QD1", rw: "randwrite", blockBytes: 4096, depth: 1 }, bar: 1 },
  { job: { name: "4k randwrite QD32", rw: "randwrite", blockBytes: 4096, depth: 32 }, bar: 1 },
  {
    job: { name: "4k write + flush", rw: "randwrite", blockBytes: 4096, depth: 1, flushEvery: 1 },
    bar: 1,
  },
  {
    job: { name: "128k sequential write QD8", rw: "write", blockBytes: 131_072, depth: 8 },
    bar: 0.8,
  },
  { job: { name: "cached 4k randread QD32", rw: "randread", blockBytes: 4096, depth: 32 }, bar: 1 },
];

const uploading: readonly Pairing[] = [
  {
    job: { name: "4k randwrite QD1, uploading", rw: "randwrite", blockBytes: 4096, depth: 1 },
    bar: 0.7,
  },
  {
    job: { name: "4k randwrite QD32, uploading", rw: "randwrite", blockBytes: 4096, depth: 32 },
    bar: 0.7,
  },
];

export interface NbdBenchOptions {
  readonly folder: string;
  readonly pairs: number;
  readonly seconds: number;
}

export async function benchNbd(options: NbdBenchOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  rows.push(...(await benchHeld(options)));
  rows.push(...(await benchUploading(options)));
  return rows;
}

/** Uploads wait, as they do while the bucket cannot be reached: the node's own speed. */
async function benchHeld(options: NbdBenchOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const pairing of held) {
    // A journal of its own for each job: the bound on dirty data must not slow a long series.
    const folder = join(options.folder, "held");
    mkdirSync(join(folder, "store"), { recursive: true });
    await using nbdkit = await startNbdkit(join(folder, "nbdkit"), SIZE_BYTES);
    await using weir = await startWeir({
      folder: join(folder, "weir"),
      store: `file://${join(folder, "store")}`,
      sizeBytes: SIZE_BYTES,
      config: { journalBytes: JOURNAL_BYTES, holdUploads: true, cacheFileBytes: 0 },
      attach: ["--max-dirty", "2G"],
    });
    await fill(nbdkit.uri, SIZE_BYTES);
    let uploads = 0;
    // A snapshot uploads everything, so that the journal's files can be used again.
    const upload = async () => {
      uploads += 1;
      await weir.command("snapshot", "bench", `upload-${uploads}`);
    };
    for (let round = 0; round * SIZE_BYTES < JOURNAL_BYTES; round += 1) {
      await fill(weir.uri, SIZE_BYTES);
      await upload();
    }
    rows.push(...(await compare(options, { ...pairing, nbdkit, weir, afterPair: upload })));
    await weir[Symbol.asyncDispose]();
    await nbdkit[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  }
  return rows;
}

/** Uploads run to a real S3 server on the same two cores. */
async function benchUploading(options: NbdBenchOptions): Promise<readonly Row[]> {
  const folder = join(options.folder, "uploading");
  mkdirSync(folder, { recursive: true });
  await using s3 = await startVersitygw();
  await using nbdkit = await startNbdkit(join(folder, "nbdkit"), SIZE_BYTES);
  await using weir = await startWeir({
    folder: join(folder, "weir"),
    store: s3.storeUrl("bench"),
    sizeBytes: SIZE_BYTES,
    config: { journalBytes: JOURNAL_BYTES, cacheFileBytes: 0 },
    attach: ["--max-dirty", "2G"],
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
  });
  await fill(nbdkit.uri, SIZE_BYTES);
  for (let round = 0; round * SIZE_BYTES < JOURNAL_BYTES; round += 1)
    await fill(weir.uri, SIZE_BYTES);
  const rows: Row[] = [];
  const afterPair = async () => undefined;
  for (const pairing of uploading)
    rows.push(...(await compare(options, { ...pairing, nbdkit, weir, afterPair })));
  return rows;
}

async function compare(
  options: NbdBenchOptions,
  series: Pairing & {
    readonly nbdkit: Target;
    readonly weir: Target;
    readonly afterPair: () => Promise<void>;
  },
): Promise<readonly Row[]> {
  const { job, bar } = series;
  const { seconds } = options;
  const full: FioJob = { ...job, seconds, ioBytes: IO_BYTES, sizeBytes: SIZE_BYTES };
  const pairs: { theirs: FioFigures; ours: FioFigures }[] = [];
  for (let pair = 0; pair < options.pairs; pair += 1) {
    const theirs = await runFio(full, series.nbdkit);
    const ours = await runFio(full, series.weir);
    pairs.push({ theirs, ours });
    await series.afterPair();
    console.error(
      `  ${job.name}: weir ${Math.round(ours.iops)}, nbdkit ${Math.round(theirs.iops)} IOPS`,
    );
  }
  const of = (pick: (pair: (typeof pairs)[number]) => number): number => median(pairs.map(pick));
  const { name } = job;
  return [
    atLeast(
      `${name}: weir / nbdkit file`,
      of(({ ours, theirs }) => ours.iops / theirs.iops),
      "ratio",
      bar,
    ),
    inform(
      `${name}: weir`,
      of(({ ours }) => ours.iops),
      "IOPS",
    ),
    inform(
      `${name}: nbdkit`,
      of(({ theirs }) => theirs.iops),
      "IOPS",
    ),
    inform(
      `${name}: weir mean`,
      of(({ ours }) => ours.meanUs),
      "us",
    ),
    inform(
      `${name}: weir p99`,
      of(({ ours }) => ours.p99Us),
      "us",
    ),
    inform(
      `${name}: nbdkit mean`,
      of(({ theirs }) => theirs.meanUs),
      "us",
    ),
    inform(
      `${name}: nbdkit p99`,
      of(({ theirs }) => theirs.p99Us),
      "us",
    ),
    inform(
      `${name}: weir CPU per I/O`,
      of(({ ours }) => ours.serverCpuUs),
      "us",
    ),
    inform(
      `${name}: nbdkit CPU per I/O`,
      of(({ theirs }) => theirs.serverCpuUs),
      "us",
    ),
  ];
}
