// Goal: a bucket that goes away costs nothing that was acknowledged: writes go on to the watermark
// and are held there, cold reads wait and then end in EIO, and all of it recovers by itself when
// the bucket is back (I10). Method: a real versitygw that is killed and started again under a real
// engine; counts and states are asserted.
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";

import { realClock } from "../../core/runtime/real-ports.ts";
import { outputOf } from "../../hack/program.ts";
import { makeOracleLog, oracle } from "../support/oracle.ts";
import { PREPARE_MS, prepareNative } from "../support/native-programs.ts";
import { startVersitygw } from "../support/versitygw.ts";
import { startWeir, type WeirProcess } from "../support/weir-process.ts";

beforeAll(prepareNative, PREPARE_MS);

const statusSchema = z.object({
  volumes: z.array(
    z.object({
      name: z.string(),
      dirtyBytes: z.number(),
      held: z.number(),
      fault: z.unknown().optional(),
    }),
  ),
});

type VolumeStatus = z.infer<typeof statusSchema>["volumes"][number];

const MIB = 1024 ** 2;

test("writes are held at the watermark, cold reads end in EIO, everything recovers", async () => {
  await using s3 = await startVersitygw();
  await using weir = await startWeir({
    store: s3.storeUrl("outage"),
    env: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey },
    config: { cacheRamBytes: 0, cacheFileBytes: 0 },
  });
  const BLOCKS = 8192;
  await weir.command("create", "out", "--size", String(BLOCKS * 4096));
  await weir.command("create", "cold", "--size", "32M");
  await weir.command("attach", "out", "--max-dirty", "8M", "--max-dirty-age", "100ms");
  await weir.command("attach", "cold", "--read-deadline", "1s");
  await fio(weir, "cold", "--rw=write", "--bs=128k", "--size=8M");
  await weir.command("detach", "cold");
  await weir.command("attach", "cold", "--read-deadline", "1s");

  await s3.kill();
  const where = ["--target", `nbd:${weir.socketOf("out")}`, "--log", makeOracleLog()];
  const load = oracle(
    "run",
    ...where,
    "--blocks",
    String(BLOCKS),
    "--ops",
    "6000",
    "--seed",
    "3",
    "--flush-at-end",
  );
  await until(async () => (await statusOf(weir, "out")).held > 0);
  const held = await statusOf(weir, "out");
  expect(held.dirtyBytes).toBeLessThanOrEqual(8 * MIB);
  expect(held.fault).toBeUndefined();
  await expect(fio(weir, "cold", "--rw=read", "--bs=4k", "--size=4k")).rejects.toThrow(
    /Input\/output error|error=5/u,
  );

  await s3.restart();
  const ran = await load;
  expect(ran.status, ran.text).toBe("done");
  expect(ran.findings, ran.text).toEqual([]);
  await fio(weir, "cold", "--rw=read", "--bs=4k", "--size=8M");
  await until(async () => (await statusOf(weir, "out")).dirtyBytes === 0);
  const verdict = await oracle("verify", ...where);
  expect(verdict.exitCode, verdict.text).toBe(0);
}, 240_000);

function fio(weir: WeirProcess, volume: string, ...args: readonly string[]): Promise<string> {
  const uri = `nbd+unix:///?socket=${weir.socketOf(volume)}`;
  return outputOf(["fio", "--name=work", "--ioengine=nbd", `--uri=${uri}`, ...args], {
    timeoutMs: 60_000,
  });
}

async function statusOf(weir: WeirProcess, name: string): Promise<VolumeStatus> {
  const status = statusSchema.parse(await weir.command("status"));
  const volume = status.volumes.find((candidate) => candidate.name === name);
  if (volume === undefined) throw new Error(`${name} is not attached`);
  return volume;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = AbortSignal.timeout(90_000);
  while (!(await condition())) await realClock.sleep(50, end);
}
