// Goal: `weir serve --take-over` again and again under load: no user of any volume sees an error,
// and nothing acknowledged is lost. Method: real engines as processes, one after the other; an
// independent write log per volume as load and judge over NBD connections that live through all
// handoffs.
import { mkdtempSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";

import { captureLogs } from "../support/log-capture.ts";
import { makeOracleLog, oracle, startOracle } from "../support/oracle.ts";
import { PREPARE_MS, prepareNative } from "../support/native-programs.ts";
import { startWeir, type WeirProcess } from "../support/weir-process.ts";

const HANDOFFS = Number(process.env["WEIR_HANDOFFS"] ?? 30);
const VOLUMES = ["one", "two", "three"];
const BLOCKS = 8192;
const SEED = Number(process.env["WEIR_SEED"] ?? Date.now() % 1_000_000);
const MIB = 1024 * 1024;
const CONFIG = { journalBytes: 256 * MIB, journalFileBytes: 16 * MIB };
/** The engines' processes need most of a small machine while they start. */
const OPS_PER_SECOND = "150";
const BLOCKS_PER_OP = "1-8";

const Handoff = z.object({
  outcome: z.string(),
  generation: z.number(),
  worstStallUs: z.number(),
  devices: z.array(z.object({ uid: z.string() })),
});
const Status = z.object({
  handoff: Handoff,
  volumes: z.array(z.object({ name: z.string(), epoch: z.number(), dirtyBytes: z.number() })),
});

beforeAll(prepareNative, PREPARE_MS);

const statusOf = async (weir: WeirProcess) => Status.parse(await weir.command("status"));

async function attachVolumes(weir: WeirProcess): Promise<void> {
  for (const name of VOLUMES) {
    await weir.command("create", name, "--size", String(BLOCKS * 4096));
    await weir.command("attach", name, "--max-dirty", "128M", "--max-dirty-age", "200ms");
  }
}

interface Load {
  readonly where: readonly string[];
  readonly run: ReturnType<typeof startOracle>;
}

function startLoads(weir: WeirProcess): readonly Load[] {
  return VOLUMES.map((name, index) => {
    const where = ["--target", `nbd:${weir.socketOf(name)}`, "--log", makeOracleLog()];
    const size = ["--blocks", String(BLOCKS), "--seconds", "3000", "--rate", OPS_PER_SECOND];
    const ops = ["--sizes", BLOCKS_PER_OP, "--depth", "8"];
    const seed = ["--seed", String(SEED + index)];
    return { where, run: startOracle("run", ...where, ...size, ...ops, ...seed) };
  });
}

/** No user saw an error or a wrong block, up to now and when all is read back. */
async function expectUnharmed(loads: readonly Load[]): Promise<void> {
  for (const { run } of loads) run.stop();
  for (const { where, run } of loads) {
    const ran = await run.ended;
    expect(ran.findings, ran.text).toEqual([]);
    expect(ran.status, ran.text).toBe("stopped");
    expect(ran.acked, ran.text).toBeGreaterThan(0);
    const verdict = await oracle("verify", ...where);
    expect(verdict.exitCode, verdict.text).toBe(0);
  }
}

test(`${HANDOFFS} handoffs in a row under load (WEIR_SEED=${SEED})`, async () => {
  await using weir = await startWeir({ config: CONFIG, engineLog: captureLogs() });
  await attachVolumes(weir);
  const loads = startLoads(weir);
  const stallsUs: number[] = [];
  for (let handoff = 1; handoff <= HANDOFFS; handoff += 1) {
    await weir.takeOver();
    const { handoff: report, volumes } = await statusOf(weir);
    expect(report).toMatchObject({ outcome: "taken", generation: handoff + 1 });
    expect(report.devices.length).toBe(VOLUMES.length);
    expect(volumes.length).toBe(VOLUMES.length);
    stallsUs.push(report.worstStallUs);
  }
  await expectUnharmed(loads);
  const sorted = stallsUs.toSorted((a, b) => a - b);
  console.log(
    `${HANDOFFS} handoffs of ${VOLUMES.length} volumes: stall p50 ` +
      `${sorted[sorted.length >> 1]} us, worst ${sorted.at(-1)} us`,
  );
}, 1_200_000);

test("snapshots, growth, attach and detach at the time of a handoff all work", async () => {
  await using weir = await startWeir({ config: CONFIG, engineLog: captureLogs() });
  await attachVolumes(weir);
  const loads = startLoads(weir);
  const calls = { made: 0, isOver: false };
  const busy = (async () => {
    for (let round = 1; !calls.isOver; round += 1) {
      await persistently(weir, "snapshot", "one", `at-${round}`);
      await persistently(weir, "create", `extra-${round}`, "--size", "8M");
      await persistently(weir, "attach", `extra-${round}`);
      await persistently(weir, "grow", `extra-${round}`, "--size", `${8 + 4 * round}M`);
      await persistently(weir, "detach", `extra-${round}`);
      calls.made += 5;
    }
  })();
  const handoffs = (async () => {
    for (let handoff = 1; handoff <= 8; handoff += 1) await weir.takeOver();
  })().finally(() => (calls.isOver = true));
  await Promise.all([busy, handoffs]);
  expect(calls.made).toBeGreaterThan(0);
  await expectUnharmed(loads);
}, 600_000);

test("a successor that cannot serve leaves the old engine serving", async () => {
  await using weir = await startWeir({ config: CONFIG, engineLog: captureLogs() });
  await attachVolumes(weir);
  const loads = startLoads(weir);
  const bucket = mkdtempSync("/dev/shm/weir-other-store-");
  try {
    await expect(weir.takeOver("--store", `file://${bucket}`)).rejects.toThrow(
      "was not taken over",
    );
  } finally {
    rmSync(bucket, { recursive: true });
  }
  expect(await statusOf(weir)).toMatchObject({ handoff: { outcome: "kept", generation: 1 } });
  // And a good one takes over from it.
  await weir.takeOver();
  expect(await statusOf(weir)).toMatchObject({ handoff: { outcome: "taken", generation: 2 } });
  await expectUnharmed(loads);
}, 300_000);

test("a dry run says that it would work and changes nothing", async () => {
  await using weir = await startWeir({ config: CONFIG, engineLog: captureLogs() });
  await attachVolumes(weir);
  const loads = startLoads(weir);
  expect(await weir.command("handoff", "--dry-run")).toMatchObject({ dryRun: true, ready: true });
  expect(await statusOf(weir)).toMatchObject({ handoff: { outcome: "dry-run", generation: 1 } });
  await expectUnharmed(loads);
}, 300_000);

/** As people and kubelet do: what was cut off or came at the wrong moment is asked for again. */
async function persistently(weir: WeirProcess, ...call: readonly string[]): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await weir.command(...call);
      return;
    } catch (cause) {
      const text = String(cause);
      // The first try may have worked with its answer lost.
      if (/already|there is a|not attached here/u.test(text)) return;
      if (tries === 20 || !/again|no engine|ended before|ending|went away/u.test(text)) throw cause;
      await sleep(100);
    }
  }
}
