// Tells of a handoff between two engines of this node, by an event on the Node, and of one that
// failed on its Volumes. During a rollout two of these run and both see it, so an event's name is
// made from the handoff: whoever comes second finds it there.
import { WeirError } from "../../core/runtime/errors.ts";
import { apiVersionOf } from "../../core/kube/kind.ts";
import type { KubeEvent } from "../../core/kube/kube-api.ts";
import { VOLUME } from "../../crds/volume.ts";
import type { EngineStatus } from "../control/engine-api.ts";
import { wordsOf, type Handoff } from "./handoff-words.ts";
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
    const status = await engine.status({ signal });
    const { handoff } = status;
    if (handoff === null || handoff.endedAtMs <= options.toldMs) return options.toldMs;
    const told = toldOf(handoff);
    // A Node's events carry its name as its uid: kubelet began it, `kubectl describe` looks for it.
    const regarding = { apiVersion: "v1", kind: "Node", name: nodeName, uid: nodeName };
    const name = `${nodeName}.handoff-${handoff.generation}-${handoff.endedAtMs}`;
    await api.record({ ...told, regarding, series: { name, count: 1 } }, { signal });
    if (told.type === "Warning") await tellVolumes(parts, { status, told, signal });
    return handoff.endedAtMs;
  } catch (cause) {
    if (!(cause instanceof WeirError)) throw cause;
    log.debug({ err: cause }, "whether there was a handoff cannot be told now");
    return options.toldMs;
  }
}

/** A failed one is told on each Volume besides, once however often a rollout tries. */
async function tellVolumes(
  { api, nodeName }: AgentParts,
  options: { readonly status: EngineStatus; readonly told: Told; readonly signal: AbortSignal },
): Promise<void> {
  const { status, told, signal } = options;
  const generation = status.handoff?.generation ?? 0;
  for (const { name } of status.volumes) {
    const volume = await api.get(VOLUME, { name }, { signal });
    if (volume?.status?.node !== nodeName) continue;
    const { uid } = volume.metadata;
    const regarding = { apiVersion: apiVersionOf(VOLUME), kind: VOLUME.kind, name, uid };
    const series = { name: `${name}.${nodeName}.handoff-${generation}`, count: 1 };
    await api.record({ ...told, regarding, series }, { signal });
  }
}

type Told = Omit<KubeEvent, "regarding" | "series">;

function toldOf(handoff: Handoff): Told {
  const words = wordsOf(handoff);
  const type = words.reason === "HandoffFailed" ? "Warning" : "Normal";
  return { ...words, type, action: "Handoff" };
}
