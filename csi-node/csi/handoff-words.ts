// What people in Kubernetes are told of a handoff: the same words on the Node and on its Volumes.
import type { EngineStatus } from "../control/engine-api.ts";

export type Handoff = NonNullable<EngineStatus["handoff"]>;

export interface HandoffWords {
  readonly reason: "HandoffCompleted" | "HandoffTried" | "HandoffFailed";
  readonly note: string;
}

export function wordsOf({ outcome, devices, worstStallUs, reason }: Handoff): HandoffWords {
  const served = devices.length === 1 ? "1 device" : `${devices.length} devices`;
  const stall = `worst stall ${(worstStallUs / 1_000).toFixed(1)} ms`;
  switch (outcome) {
    case "taken":
    case "given":
      return { reason: "HandoffCompleted", note: `Weir's new engine serves ${served}, ${stall}` };
    case "dry-run":
      return { reason: "HandoffTried", note: "A dry run went well" };
    case "kept":
      return {
        reason: "HandoffFailed",
        note: `Weir's engine serves on as before: ${reason ?? "it was called off"}`,
      };
    default:
      return {
        reason: "HandoffFailed",
        note: "Weir's new engine died as it began to serve; devices were recovered",
      };
  }
}
