// What is kept of a handoff when it has ended: one line in the log, shown by `weir status`.
import type { Logger } from "../../core/runtime/log.ts";
import type { DeviceStall } from "../engine/handoff-port.ts";

export type HandoffOutcome =
  /** Predecessor: the successor serves. */
  | "given"
  /** Predecessor: called off, or taken back; it serves as before. */
  | "kept"
  /** Predecessor: the successor died as owner, so this engine recovered as after a crash. */
  | "recovered"
  /** Predecessor: likewise, but another process was first. */
  | "lost"
  | "dry-run"
  /** Successor: it serves. */
  | "taken";

export interface HandoffReport {
  /** A HandoffOutcome; of a newer release perhaps another word. */
  readonly outcome: string;
  /** The last that this engine had, or has. */
  readonly generation: number;
  /** Why, unless all went as it should. */
  readonly reason: string | undefined;
  /** The software of the other engine; "" when it did not say. */
  readonly peerBuild: string;
  /** How long each state lasted, by its name. */
  readonly phasesMs: Readonly<Record<string, number>>;
  readonly devices: readonly DeviceStall[];
  readonly worstStallUs: number;
  readonly endedAtMs: number;
}

export function worstStallUs(devices: readonly DeviceStall[]): number {
  return Math.max(0, ...devices.map(({ stallUs }) => stallUs));
}

export function logReport(log: Logger, report: HandoffReport): void {
  const { devices, outcome, ...rest } = report;
  const level = outcome === "recovered" || outcome === "lost" ? "warn" : "info";
  log[level]({ handoff: { outcome, ...rest, devices: devices.length } }, sentenceOf(report));
}

/** For people: the log, and `weir status`. */
export function sentenceOf({ outcome, devices, worstStallUs, reason }: HandoffReport): string {
  const stall = `${devices.length} volumes, worst stall ${(worstStallUs / 1_000).toFixed(1)} ms`;
  switch (outcome) {
    case "given":
      return `handed over: ${stall}`;
    case "taken":
      return `took over: ${stall}`;
    case "kept":
      return `a handoff ended without effect: ${reason ?? "it was called off"}`;
    case "recovered":
      return "the successor died after it took over: its volumes are recovered here";
    case "lost":
      return "the successor died after it took over: another engine recovers its volumes";
    case "dry-run":
      return "a dry run of a handoff went well";
    default:
      return `the last handoff ended: ${outcome}`;
  }
}
