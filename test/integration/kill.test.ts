// Goal: SIGKILL of the engine at random moments under load loses nothing that was acknowledged (I1,
// I2, I3), and the loss of the node loses nothing that was committed. Method: `weir serve` as a
// process, the independent write log as load and judge over NBD. The judge's own teeth are shown by
// planting each kind of damage.
import { beforeAll, expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";

import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { makeOracleLog, oracle } from "../support/oracle.ts";
import { PREPARE_MS, prepareNative } from "../support/native-programs.ts";
import { startWeir } from "../support/weir-process.ts";

const KILLS = 50;
const BLOCKS = 8192;
const SEED = Number(process.env["WEIR_SEED"] ?? Date.now() % 1_000_000);

beforeAll(prepareNative, PREPARE_MS);

test(`${KILLS} kills under load lose nothing acknowledged (WEIR_SEED=${SEED})`, async () => {
  const random = new SeededRandom(SEED);
  await using weir = await startWeir({
    config: { journalBytes: 64 * 1024 * 1024, journalFileBytes: 4 * 1024 * 1024 },
  });
  await weir.command("create", "killed", "--size", String(BLOCKS * 4096));
  await weir.command("attach", "killed", "--max-dirty", "32M", "--max-dirty-age", "100ms");
  const log = makeOracleLog();
  const where = ["--target", `nbd:${weir.socketOf("killed")}`, "--log", log];
  let interrupted = 0;
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const load = oracle(
      "run",
      ...where,
      "--blocks",
      String(BLOCKS),
      "--seconds",
      "60",
      "--seed",
      String(SEED + kill),
    );
    await sleep(100 + random.fraction() * 500);
    await weir.kill();
    const ran = await load;
    expect(ran.findings, ran.text).toEqual([]);
    expect(ran.status, ran.text).toBe("disconnected");
    if ((ran.ops ?? 0) > (ran.acked ?? 0)) interrupted += 1;
    await weir.start();
    const verdict = await oracle("verify", ...where, "--settle");
    expect(verdict.exitCode, `kill ${kill}, WEIR_SEED=${SEED}: ${verdict.text}`).toBe(0);
  }
  // A kill that interrupts nothing proves nothing.
  expect(interrupted).toBeGreaterThan(KILLS / 2);
  // Everything goes to the bucket, the node's disk is lost, and nothing is missing elsewhere.
  await weir.command("detach", "killed");
  await weir.kill();
  weir.wipe();
  await weir.start();
  await weir.command("attach", "killed");
  const verdict = await oracle("verify", ...where);
  expect(verdict.exitCode, verdict.text).toBe(0);
}, 600_000);

test("the loss of the node leaves a prefix: the last committed position", async () => {
  await using weir = await startWeir();
  await weir.command("create", "lost", "--size", String(BLOCKS * 4096));
  const where = ["--target", `nbd:${weir.socketOf("lost")}`, "--log", makeOracleLog()];
  for (let round = 1; round <= 3; round += 1) {
    await weir.command("attach", "lost", "--max-dirty-age", "50ms");
    const load = oracle(
      "run",
      ...where,
      "--blocks",
      String(BLOCKS),
      "--seconds",
      "60",
      "--seed",
      String(SEED + round),
    );
    await sleep(1200);
    await weir.kill();
    await load;
    weir.wipe();
    await weir.start();
    await weir.command("attach", "lost");
    const verdict = await oracle("verify", ...where, "--expect", "image", "--settle");
    expect(verdict.exitCode, verdict.text).toBe(0);
    await weir.command("detach", "lost");
  }
}, 300_000);

test.each(["lost", "stale", "torn", "zeroed", "misplaced", "foreign", "prefix"])(
  "the judge finds a block that was %s",
  async (kind) => {
    await using weir = await startWeir();
    await weir.command("create", "planted", "--size", String(BLOCKS * 4096));
    await weir.command("attach", "planted");
    const where = ["--target", `nbd:${weir.socketOf("planted")}`, "--log", makeOracleLog()];
    // Only what no flush covered can break the order, so flushes are rare there.
    const [load, expected] =
      kind === "prefix"
        ? [
            ["--flush-every", "2000"],
            ["--expect", "flushed"],
          ]
        : [[], []];
    // Whether a block can carry the damage is up to chance: the load goes on until one can.
    let planted: { readonly exitCode: number } | undefined;
    for (let run = 0; planted?.exitCode !== 0 && run < 10; run += 1) {
      const size = ["--blocks", String(BLOCKS), "--ops", run === 0 ? "4000" : "300"];
      await oracle("run", ...where, ...size, ...load, "--seed", String(SEED));
      expect((await oracle("verify", ...where)).exitCode).toBe(0);
      planted = await oracle("plant", ...where, "--kind", kind, ...expected, "--seed", "1");
    }
    expect(planted?.exitCode).toBe(0);
    const verdict = await oracle("verify", ...where, ...expected);
    expect(verdict.exitCode, verdict.text).toBe(1);
    expect(
      verdict.findings.map((finding) => finding.kind),
      verdict.text,
    ).toContain(kind);
  },
  60_000,
);
