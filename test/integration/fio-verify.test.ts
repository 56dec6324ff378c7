// Goal: 60 s of mixed load over NBD at depth 32 without one verification error. Method: fio's own
// crc32c verification, each range trimmed and then written, mixed sizes, flushes, uploads running
// to a directory store.
import { beforeAll, expect, test } from "vitest";

import { outputOf } from "../../hack/program.ts";
import { PREPARE_MS, prepareNative } from "../support/native-programs.ts";
import { startWeir } from "../support/weir-process.ts";

const SECONDS = 60;

beforeAll(prepareNative, PREPARE_MS);

test(`fio verifies ${SECONDS} s of mixed writes, trims and flushes`, async () => {
  await using weir = await startWeir();
  await weir.command("create", "mixed", "--size", "512M");
  await weir.command("attach", "mixed", "--max-dirty-age", "200ms");
  const text = await outputOf(
    [
      ...[
        "fio",
        "--name=mixed",
        "--ioengine=nbd",
        `--uri=nbd+unix:///?socket=${weir.socketOf("mixed")}`,
      ],
      ...["--rw=randtrimwrite", "--bsrange=4k-128k", "--iodepth=32", "--size=512M", "--fsync=64"],
      ...[
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--verify_backlog=256",
        "--loops=1000",
      ],
      ...["--time_based", `--runtime=${SECONDS}`, "--output-format=json"],
    ],
    { timeoutMs: (SECONDS + 120) * 1000 },
  );
  const job: {
    error: number;
    read: { total_ios: number };
    trim: { total_ios: number };
    write: { total_ios: number };
  } = JSON.parse(text.slice(text.indexOf("{"))).jobs[0];
  expect(job.error).toBe(0);
  expect(job.write.total_ios).toBeGreaterThan(1000);
  expect(job.trim.total_ios).toBeGreaterThan(1000);
  expect(job.read.total_ios).toBeGreaterThan(1000);
  await weir.command("detach", "mixed");
}, 300_000);
