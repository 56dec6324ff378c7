// What people and kubelet ask of a node's engine while it is replaced again and again: snapshots of
// a volume that is written to, and volumes attached, grown and detached, until FILE exists. A call
// that came at the wrong moment is asked for again, as all of them would; any other failure ends
// this with status 1. One process, as in an emulated guest each start of Node costs many seconds.
//   handoff-calls.ts SOCKET FILE VOLUME EXTRA...
import { existsSync } from "node:fs";
import { release } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

import { FAULTS, WeirError } from "../../core/runtime/errors.ts";
import { asSnapshotUid } from "../../core/runtime/ids.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { ControlClient } from "../../csi-node/control/control-client.ts";
import type { CallContext } from "../../csi-node/control/engine-api.ts";
import { parseConfig, volumePolicySchema } from "../../csi-node/engine/config.ts";

const [socketPath = "", stopFile = "", written = "", ...extras] = process.argv.slice(2);
const MIB = 1024 * 1024;
const TRIES = 60;
const PAUSE_MS = 500;
/** Between two rounds of calls: the engine's loading has to go on beside them. */
const ROUND_PAUSE_MS = 3000;
/** Longer than the end of a handoff is waited for. */
const CALL_MS = 120_000;
/** Only from Linux 6.16 on does a ublk device grow in use. */
const GROWS = Number(release().split(".")[0]) >= 7;

const engine = new ControlClient({ socketPath });
const policy = parseConfig(volumePolicySchema, {}, "the volume's policy");
const random = new SeededRandom(1);
const counts = new Map<string, number>();

const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);

async function persistently(
  what: string,
  send: (context: CallContext) => Promise<unknown>,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await send({ signal: AbortSignal.timeout(CALL_MS) });
      count(what);
      return;
    } catch (cause) {
      if (!(cause instanceof WeirError)) throw cause;
      // The first try did it, and only its answer was lost.
      if (what === "detach" && tries > 1 && cause.code === "not-found") return;
      if (!FAULTS[cause.code].retryable || tries === TRIES) throw cause;
      count(`${what} again`);
    }
    await sleep(PAUSE_MS);
  }
}

async function snapshots(): Promise<void> {
  for (let round = 1; !existsSync(stopFile); round += 1) {
    const options = {
      name: written,
      snapshot: `at-${round}`,
      uid: asSnapshotUid(random.hex32()),
    };
    await persistently("snapshot", (context) => engine.snapshot(options, context));
    await sleep(ROUND_PAUSE_MS);
  }
}

async function comingAndGoing(name: string): Promise<void> {
  const transport = { kind: "ublk" } as const;
  for (let round = 1; !existsSync(stopFile); round += 1) {
    await persistently("attach", (context) => engine.attach({ name, transport, policy }, context));
    if (GROWS) {
      const sizeBytes = (8 + round) * MIB;
      await persistently("grow", (context) => engine.grow({ name, sizeBytes }, context));
    }
    await persistently("detach", (context) => engine.detach({ name, force: false }, context));
    await sleep(ROUND_PAUSE_MS);
  }
}

await Promise.all([snapshots(), ...extras.map((name) => comingAndGoing(name))]);
console.log([...counts].map(([what, times]) => `${what} ${times}`).join(", "));
