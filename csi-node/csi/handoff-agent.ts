// Tells of a handoff between two engines of this node, by an event on the Node. During a rollout
// two of these run and both see it, so the event's name is made from the handoff: whoever comes
// second finds it there.
import { WeirError } from "../../core/runtime/errors.ts";
import type { KubeEvent } from "../../core/kube/kube-api.ts";
import type { EngineStatus } from "../control/engine-api.ts";
import type { AgentParts } from "./snapshot-agent.ts";

const POLL_MS = 5_000;
const CALL_MS = 10_000;
/** Older ones were told of, or are of no interest any more. */
const NEWS_MS = 30 * 60_000;

/** Resolves when the signal has ended it. */
export async function runHandoffAgent(parts: AgentParts, signal: AbortSignal): Promise<void> {
  let toldMs = parts.clock.wallMs() - NEWS_MS;
  while (!signal.aborted) {
    toldMs = await tellOnce(parts, { toldMs, signal });
    await parts.clock.sleep(POLL_MS, signal).catch(() => undefined);
  }
}

/** When the last handoff ended that people know of. Never rejects. */
async function tellOnce(
  parts: AgentParts,
  options: { readonly toldMs: number; readonly signal: AbortSignal },
): Promise<number> {
  const { api, clock, engine, log, nodeName } = parts;
  try {
    using signal = clock.deadline(CALL_MS, options.signal);
    const { handoff } = await engine.status({ signal });
    if (handoff === null || handoff.endedAtMs <= options.toldMs) return options.toldMs;
    const name = `${nodeName}.handoff-${handoff.generation}-${handoff.endedAtMs}`;
    await api.record({ ...eventOf(handoff, nodeName), series: { name, count: 1 } }, { signal });
    return handoff.endedAtMs;
  } catch (cause) {
    if (!(cause instanceof WeirError)) throw cause;
    log.debug({ err: cause }, "whether there was a handoff cannot be told now");
    return options.toldMs;
  }
}

function eventOf(handoff: NonNullable<EngineStatus["handoff"]>, nodeName: string): KubeEvent {
  const { outcome, devices, worstStallUs, reason } = handoff;
  // A Node's events carry its name as its uid: kubelet began it, `kubectl describe` looks for it.
  const regarding = { apiVersion: "v1", kind: "Node", name: nodeName, uid: nodeName };
  const common = { regarding, action: "Handoff" };
  const served = devices.length === 1 ? "1 device" : `${devices.length} devices`;
  const stall = `worst stall ${(worstStallUs / 1_000).toFixed(1)} ms`;
  switch (outcome) {
    case "taken":
    case "given":
      return {
        ...common,
        ...{ type: "Normal", reason: "HandoffCompleted" },
        note: `Weir's new engine serves ${served}, ${stall}`,
      };
    case "dry-run":
      return { ...common, type: "Normal", reason: "HandoffTried", note: "A dry run went well" };
    case "kept":
      return failed(common, `Weir's engine serves on as before: ${reason ?? "it was called off"}`);
    default:
      return failed(common, "Weir's new engine died as it began to serve; devices were recovered");
  }
}

const failed = (common: Pick<KubeEvent, "regarding" | "action">, note: string): KubeEvent => ({
  ...common,
  ...{ type: "Warning", reason: "HandoffFailed" },
  note,
});
