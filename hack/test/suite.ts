// What a suite is: a name, where it belongs, and how it runs and counts. suites.ts lists them.
import type { ProgramEnd } from "../program.ts";

export const AREAS = ["static", "volume", "kubernetes", "handoff"] as const;
export type Area = (typeof AREAS)[number];

export interface Suite {
  readonly area: Area;
  readonly name: string;
  /** Belongs to `npm run check` too: no guest, no server, seconds. */
  readonly fast: boolean;
  /** Guests run beside the suites of the host: they wait for each other, not for those. */
  readonly lane: "host" | "guest";
  /** For each program that the suite runs. */
  readonly timeLimitMs: number;
  run(context: SuiteContext): Promise<Counts>;
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** What a suite is given: a folder of its own, and programs whose output goes to its log. */
export interface SuiteContext {
  /** Removed at the end unless something failed. */
  readonly folder: string;
  readonly logFile: string;
  readonly timeLimitMs: number;
  run(...command: string[]): Promise<ProgramEnd>;
  /** Adds a line to the log, which is shown when the suite fails. */
  log(text: string): void;
}

/** One check that holds or does not. */
export function one(holds: boolean): Counts {
  return { passed: holds ? 1 : 0, failed: holds ? 0 : 1 };
}
