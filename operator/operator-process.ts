// The operator from its first socket to its last word. Every replica serves CSI; the leader alone
// reconciles. Who was the leader and may not be it any more ends at once: its successor works
// already.
import { serveCsi, type CsiServer } from "../core/csi/serve.ts";
import type { ReconcileReport } from "../core/kube/controller.ts";
import { EventRecorder } from "../core/kube/events.ts";
import type { KubeApi } from "../core/kube/kube-api.ts";
import { becomeLeader } from "../core/kube/leader-election.ts";
import { Reflector } from "../core/kube/reflector.ts";
import { SharedScans } from "../core/log/shared-scans.ts";
import { abortReason, whenAborted } from "../core/runtime/timer-signals.ts";
import type { Logger } from "../core/runtime/log.ts";
import type { Clock, Random } from "../core/runtime/ports.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import { SNAPSHOT } from "../crds/snapshot.ts";
import { VOLUME } from "../crds/volume.ts";
import { Backend } from "./backend.ts";
import type { OperatorConfig } from "./config.ts";
import { controllerService } from "./csi/controller-service.ts";
import { identityService } from "../core/csi/identity.ts";
import type { Health, HealthSource } from "../core/runtime/health.ts";
import { OperatorMetrics } from "./metrics.ts";
import type { OperatorParts } from "./parts.ts";
import { People } from "./people.ts";
import { startReconcilers } from "./reconcile/reconcilers.ts";

/** Below the grace period that a pod has. */
const DRAIN_MS = 20_000;
const LEASE_NAME = "weir-operator";

export interface OperatorProcessOptions {
  readonly config: OperatorConfig;
  readonly api: KubeApi;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Whose questions are answered; `undefined`: nobody asks. */
  readonly health: Health | undefined;
  /** Ends the process. */
  readonly signal: AbortSignal;
  /** Told when this process reconciles, and when it does not any more; for tests. */
  readonly onLeading?: (isLeader: boolean) => void;
}

/**
 * Resolves when the signal has ended everything. Throws what stops it from starting, and when the
 * leadership was lost.
 */
export async function runOperator(options: OperatorProcessOptions): Promise<void> {
  const { config, api, store, clock, random, log, signal, health } = options;
  const common = { clock, random, log };
  const metrics = new OperatorMetrics();
  await using stack = new AsyncDisposableStack();
  const recorder = stack.use(new EventRecorder({ ...common, api }));
  const ending = new AbortController();
  const untilEnd = AbortSignal.any([signal, ending.signal]);
  const parts: OperatorParts = {
    ...common,
    ...{ api, store },
    scans: new SharedScans({ ...common, store, signal: untilEnd }),
    backend: new Backend({ ...common, store }),
    people: new People({ api, recorder }),
    volumes: stack.use(new Reflector({ ...common, api, kind: VOLUME })),
    snapshots: stack.use(new Reflector({ ...common, api, kind: SNAPSHOT })),
  };
  const state = { isLeader: false };
  const probing = parts.backend.run(untilEnd);
  stack.defer(async () => {
    ending.abort();
    await probing;
  });
  const csi = await serveCsi({
    ...common,
    socketPath: config.socketPath,
    services: [identityService(), controllerService(parts)],
    onCall: (call) => metrics.onCall(call),
  });
  stack.defer(() => closeCsi(csi, log));
  // The sidecars start when kubelet hears of it, and each ends when its first connection is not
  // answered within a second: on a slow node not before the probe's work is done.
  const started = parts.backend.untilAnswered(untilEnd).then(() => {
    health?.ask(healthOf({ parts, metrics, state }));
  });
  stack.defer(async () => {
    ending.abort();
    await started;
  });
  log.info({ socket: config.socketPath }, "serving CSI");
  await lead(options, {
    parts,
    onReconciled: (controller, report) => metrics.onReconciled(controller, report),
    onLeading: (isLeader) => {
      state.isLeader = isLeader;
      options.onLeading?.(isLeader);
    },
  });
}

interface Leading {
  readonly parts: OperatorParts;
  readonly onReconciled: (controller: string, report: ReconcileReport) => void;
  readonly onLeading: (isLeader: boolean) => void;
}

/** Waits for the leadership and reconciles until the signal aborts. */
async function lead(options: OperatorProcessOptions, leading: Leading): Promise<void> {
  const { config, signal, log } = options;
  if (config.electionNamespace === undefined) {
    await reconcile(leading, signal);
    return;
  }
  const lease = { namespace: config.electionNamespace, name: LEASE_NAME };
  const identity = `${config.instance}_${options.random.hex32().slice(0, 8)}`;
  try {
    const election = { ...options, lease, identity, leaseMs: config.leaseMs };
    await using leadership = await becomeLeader(election, signal);
    log.info({ term: leadership.term }, "this operator is the leader now");
    await reconcile(leading, AbortSignal.any([signal, leadership.lost]));
    if (!signal.aborted) throw abortReason(leadership.lost);
  } catch (cause) {
    if (!signal.aborted) throw cause;
  }
}

async function reconcile(leading: Leading, signal: AbortSignal): Promise<void> {
  const { parts, onReconciled, onLeading } = leading;
  await using _reconcilers = startReconcilers({ parts, onReconciled });
  onLeading(true);
  try {
    await whenAborted(signal);
  } finally {
    onLeading(false);
  }
}

async function closeCsi(csi: CsiServer, log: Logger): Promise<void> {
  log.info("ending: waiting for the calls that run");
  await csi.close({ drainMs: DRAIN_MS });
}

function healthOf(options: {
  readonly parts: OperatorParts;
  readonly metrics: OperatorMetrics;
  readonly state: { readonly isLeader: boolean };
}): HealthSource {
  const { parts, metrics, state } = options;
  const { volumes, snapshots, backend } = parts;
  return {
    whyNotReady: () => {
      if (!volumes.isSynced || !snapshots.isSynced) return "the API server has not answered yet";
      return backend.fault?.message;
    },
    metrics: () =>
      metrics.text({
        isLeader: state.isLeader,
        isStoreSafe: backend.fault === undefined,
        volumes: volumes.items().length,
        snapshots: snapshots.items().length,
        stalenessMs: { Volume: volumes.stalenessMs(), Snapshot: snapshots.stalenessMs() },
      }),
  };
}
