// What a handoff costs the users of ublk devices, in guests, beside the floor in the same boot: the
// longest single request around each handoff. Software emulation makes absolute figures worth
// little; the bars are ratios to the floor and distances to the same load without a handoff.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "../places.ts";
import { runInGuest } from "../vm/guest.ts";
import { KERNELS, type KernelName } from "../vm/kernels.ts";
import { atMost, inform, median, type Row } from "./rows.ts";
import { forgottenIn, readRequests, readWindows, stallsOf, worstIn } from "./stalls.ts";

const DEVICES = [1, 8] as const;
const DEPTHS = [1, 8] as const;
/** A guest on a busy machine; measured 1 to 4 s. */
const SECONDS_EACH = 12;

const BAR_TO_FLOOR = 2;
const BAR_WORST_MS = 25;
const BAR_TO_ONE_DEVICE = 2;

export interface HandoffBenchOptions {
  readonly folder: string;
  readonly handoffs: number;
  readonly seconds: number;
}

export async function benchHandoff(options: HandoffBenchOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const script = readFileSync(join(checkout, "test", "vm", "bench-handoff.sh"), "utf8");
  const { handoffs } = options;
  const baseSeconds = options.seconds * 4;
  const runs = 2 * DEVICES.length * DEPTHS.length;
  for (const kernel of KERNELS) {
    const share = join(options.folder, `handoff-${kernel}`);
    mkdirSync(share);
    const end = await runInGuest({
      kernel,
      script: `HANDOFFS=${handoffs} BASE_SECONDS=${baseSeconds}\n${script}`,
      memoryMiB: 6144,
      diskMiB: 20_480,
      shareFolder: share,
      timeoutMs: (runs * (handoffs * SECONDS_EACH + baseSeconds + 30) + 120) * 1000,
    });
    if (end.exitCode !== 0 || end.complaints.length > 0) {
      const words = [end.output, ...end.complaints].join("\n");
      throw new Error(`the guest with kernel ${kernel} failed:\n${words}`);
    }
    rows.push(...rowsOf(kernel, share));
    rmSync(share, { recursive: true });
  }
  return rows;
}

interface Figures {
  readonly p50Ms: number;
  readonly worstMs: number;
  readonly baseWorstMs: number;
  readonly handoffs: number;
  readonly forgotten: number;
}

function figuresOf(share: string, run: string): Figures {
  const read = (kind: string) => readFileSync(join(share, "handoff", `${run}.${kind}`), "utf8");
  const requests = readRequests(read("requests"));
  const windows = readWindows(read("windows"));
  const stalls = stallsOf(requests, windows.handoffs);
  return {
    p50Ms: median(stalls),
    worstMs: Math.max(...stalls),
    baseWorstMs: worstIn(requests, windows.base),
    handoffs: stalls.length,
    forgotten: forgottenIn(requests, windows.handoffs),
  };
}

function rowsOf(kernel: KernelName, share: string): Row[] {
  return DEPTHS.flatMap((depth) => {
    const of = (who: string, devices: number) => figuresOf(share, `${who}.${devices}.${depth}`);
    const label = `handoff ${kernel}, QD${depth}`;
    const rows = DEVICES.flatMap((devices) => {
      const engine = of("engine", devices);
      const floor = of("floor", devices);
      const name = `${label}, ${devices} device${devices > 1 ? "s" : ""}`;
      return [
        atMost(`${name}: p50 / floor's p50`, engine.p50Ms / floor.p50Ms, "ratio", BAR_TO_FLOOR),
        atMost(
          `${name}: worst above worst without handoff`,
          engine.worstMs - engine.baseWorstMs,
          "ms",
          BAR_WORST_MS,
        ),
        atMost(`${name}: requests that waited for the next handoff`, engine.forgotten, "", 0),
        inform(`${name}: handoffs`, engine.handoffs, ""),
        inform(`${name}: p50`, engine.p50Ms, "ms"),
        inform(`${name}: worst`, engine.worstMs, "ms"),
        inform(`${name}: worst without handoff`, engine.baseWorstMs, "ms"),
        inform(`${name}: floor p50`, floor.p50Ms, "ms"),
        inform(`${name}: floor worst`, floor.worstMs, "ms"),
        inform(`${name}: floor worst without handoff`, floor.baseWorstMs, "ms"),
      ];
    });
    const ratio = of("engine", 8).p50Ms / of("engine", 1).p50Ms;
    rows.push(atMost(`${label}: 8 devices / 1 device, p50`, ratio, "ratio", BAR_TO_ONE_DEVICE));
    return rows;
  });
}
