// Goal: a volume attached elsewhere, with cache and journal gone, equals the last committed
// position byte for byte. Method: random load, SIGKILL, state wiped; the image that the engine
// serves is compared with one that the TypeScript codecs read from the bucket by themselves.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";

import { findVolume } from "../../core/log/volumes.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { openStore } from "../../core/store/open-store.ts";
import { outputOf } from "../../hack/program.ts";
import { committedImage } from "../support/committed-image.ts";
import { makeOracleLog, oracle } from "../support/oracle.ts";
import { PREPARE_MS, prepareNative } from "../support/native-programs.ts";
import { startWeir } from "../support/weir-process.ts";

const BLOCKS = 16_384 + 4096; // more than one chunk

beforeAll(prepareNative, PREPARE_MS);

test("attached elsewhere it equals the committed position byte for byte", async () => {
  await using weir = await startWeir();
  await weir.command("create", "moved", "--size", String(BLOCKS * 4096));
  await using store = await openStore(weir.store, { clock: realClock, random: realRandom });
  const context = {
    store,
    clock: realClock,
    random: realRandom,
    signal: AbortSignal.timeout(200_000),
  };
  const volume = await findVolume({ ...context, name: "moved" });
  if (volume === undefined) throw new Error("the volume was not found");
  for (const seed of [1, 2]) {
    await weir.command("attach", "moved", "--max-dirty-age", "50ms");
    const load = oracle(
      "run",
      ...[
        "--target",
        `nbd:${weir.socketOf("moved")}`,
        "--log",
        makeOracleLog(),
        "--blocks",
        String(BLOCKS),
      ],
      ...["--seconds", "60", "--seed", String(seed)],
    );
    await sleep(1500);
    await weir.kill();
    await load;
    weir.wipe();
    const expected = await committedImage({ ...context, volume: volume.uid });
    await weir.start();
    await weir.command("attach", "moved", "--max-dirty-age", "50ms");
    const dump = join(weir.folder, "dump");
    await outputOf(["nbdcopy", `nbd+unix:///?socket=${weir.socketOf("moved")}`, dump], {
      timeoutMs: 120_000,
    });
    expect(expected.some((byte) => byte !== 0)).toBe(true);
    expect(digest(readFileSync(dump))).toBe(digest(expected));
    await weir.command("detach", "moved");
    expect(digest(await committedImage({ ...context, volume: volume.uid }))).toBe(digest(expected));
  }
}, 300_000);

function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
