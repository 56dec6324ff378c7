// Who of several operators works: the holder of a Lease. Clocks of machines are never compared: a
// candidate takes the Lease when it has seen no change in it for the Lease's duration, on its own
// clock. The holder stops by itself when it could not renew for a shorter time, so there is no
// moment with two. A process that was frozen does not know that yet: writes that must not be made
// by a former leader carry its `term`, or a resourceVersion.

import { WeirError } from "../runtime/errors.ts";
import { isoMicros } from "../runtime/iso-time.ts";
import { logFault } from "../runtime/log.ts";
import type { Logger } from "../runtime/log.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { checkAbort } from "../runtime/timer-signals.ts";
import { LEASE } from "./kinds.ts";
import type { Lease } from "./kinds.ts";
import type { KubeApi, ObjectRef } from "./kube-api.ts";

/** As long as that of other controllers. */
const LEASE_MS = 15_000;
/** The holder stops after this part of the Lease without a renewal. */
const RENEW_PART = 2 / 3;
/** Between two looks at the Lease, up to a fifth more by chance. */
const RETRY_MS = 2000;

export type ElectionApi = Pick<KubeApi, "get" | "create" | "merge">;

export interface ElectionOptions {
  readonly api: ElectionApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly lease: Required<ObjectRef>;
  /** Unique to this process: the pod's name and something random. */
  readonly identity: string;
  /** Candidates wait this long without a change; 15 s unless told. */
  readonly leaseMs?: number;
}

const leaseMsOf = ({ leaseMs = LEASE_MS }: ElectionOptions): number => leaseMs;
const renewMsOf = (options: ElectionOptions): number => leaseMsOf(options) * RENEW_PART;

/** The right to work. Disposing it gives the Lease back, so that another can begin at once. */
export interface Leadership extends AsyncDisposable {
  /** Grows from leader to leader. */
  readonly term: number;
  /** Aborts as soon as the right may be gone: the process must stop its work, best by exiting. */
  readonly lost: AbortSignal;
}

/** Waits until this process leads. */
export async function becomeLeader(
  options: ElectionOptions,
  signal: AbortSignal,
): Promise<Leadership> {
  const { clock, random, log } = options;
  const candidate = new Candidate(options);
  for (;;) {
    checkAbort(signal);
    const startedAtMs = clock.monotonicMs();
    try {
      using deadline = clock.deadline(renewMsOf(options), signal);
      const held = await candidate.attempt(deadline);
      if (held !== undefined) return new Holder(options, held, startedAtMs);
    } catch (error) {
      checkAbort(signal);
      logFault(log, error, "the attempt to become the leader failed and is tried again");
    }
    await clock.sleep(RETRY_MS * (1 + random.fraction() / 5), signal);
  }
}

class Candidate {
  readonly #options: ElectionOptions;
  #seenVersion: string | undefined;
  #seenAtMs = 0;

  constructor(options: ElectionOptions) {
    this.#options = options;
  }

  /** The Lease when it is ours now. */
  async attempt(signal: AbortSignal): Promise<Lease | undefined> {
    const { api, clock, lease, identity } = this.#options;
    const found = await api.get(LEASE, lease, { signal });
    if (found === undefined) return this.#create(signal);
    const { holderIdentity = "", leaseTransitions = 0, leaseDurationSeconds } = found.spec ?? {};
    if (found.metadata.resourceVersion !== this.#seenVersion) {
      this.#seenVersion = found.metadata.resourceVersion;
      this.#seenAtMs = clock.monotonicMs();
    }
    const durationMs = Math.max(leaseMsOf(this.#options), (leaseDurationSeconds ?? 0) * 1000);
    const isFree = holderIdentity === "" || holderIdentity === identity;
    if (!isFree && clock.monotonicMs() - this.#seenAtMs < durationMs) return undefined;
    const patch = {
      metadata: { resourceVersion: found.metadata.resourceVersion },
      spec: newTerm(this.#options, leaseTransitions + 1),
    };
    const taken = await api.merge(LEASE, lease, patch, { signal });
    return taken.kind === "written" ? taken.object : undefined;
  }

  async #create(signal: AbortSignal): Promise<Lease | undefined> {
    const { api, lease } = this.#options;
    const first = { metadata: lease, spec: newTerm(this.#options, 0) };
    const made = await api.create(LEASE, first, { signal });
    if (made.kind !== "invalid") return made.kind === "created" ? made.object : undefined;
    throw new WeirError("internal", "the API server refused the Lease of the leader election", {
      details: { namespace: lease.namespace, name: lease.name, problem: made.message },
    });
  }
}

class Holder implements Leadership {
  readonly term: number;
  readonly #options: ElectionOptions;
  readonly #lost = new AbortController();
  readonly #stop = new AbortController();
  readonly #renewing: Promise<void>;
  #version: string;
  /** When the last renewal that succeeded was sent. */
  #renewedAtMs: number;

  constructor(options: ElectionOptions, lease: Lease, renewedAtMs: number) {
    this.#options = options;
    this.term = lease.spec?.leaseTransitions ?? 0;
    this.#version = lease.metadata.resourceVersion;
    this.#renewedAtMs = renewedAtMs;
    this.#renewing = this.#run();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#renewing;
    if (this.#lost.signal.aborted) return;
    const { api, clock, lease, log } = this.#options;
    const patch = {
      metadata: { resourceVersion: this.#version },
      spec: { holderIdentity: null, leaseDurationSeconds: 1 },
    };
    try {
      using deadline = clock.deadline(RETRY_MS);
      await api.merge(LEASE, lease, patch, { signal: deadline });
    } catch (error) {
      logFault(log, error, "the leader's Lease could not be given back and expires by itself");
    }
    this.#lose("the leadership was given back");
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    // From the last renewal on, so that no wait of ours can stretch the limit.
    const leftMs = (): number => this.#renewedAtMs + renewMsOf(this.#options) - clock.monotonicMs();
    while (!this.#stop.signal.aborted) {
      await clock.sleep(Math.min(RETRY_MS, leftMs()), this.#stop.signal).catch(() => {});
      if (this.#stop.signal.aborted) return;
      const outcome = leftMs() <= 0 ? "late" : await this.#renew(leftMs());
      if (outcome === "taken") return this.#lose("another process became the leader");
      if (leftMs() <= 0) return this.#lose("the leader's Lease could not be renewed in time");
    }
  }

  async #renew(leftMs: number): Promise<"renewed" | "late" | "taken"> {
    const { api, clock, lease, log, identity } = this.#options;
    const sentAtMs = clock.monotonicMs();
    const patch = {
      metadata: { resourceVersion: this.#version },
      spec: { renewTime: isoMicros(clock.wallMs()) },
    };
    using signal = clock.deadline(leftMs, this.#stop.signal);
    try {
      const renewed = await api.merge(LEASE, lease, patch, { signal });
      if (renewed.kind === "written") {
        this.#version = renewed.object.metadata.resourceVersion;
        this.#renewedAtMs = sentAtMs;
        return "renewed";
      }
      // Our own renewal whose answer was lost looks like another's write.
      const now = await api.get(LEASE, lease, { signal });
      if (now?.spec?.holderIdentity !== identity) return "taken";
      this.#version = now.metadata.resourceVersion;
    } catch (error) {
      if (!this.#stop.signal.aborted) {
        logFault(log, error, "the leader's Lease was not renewed; this is tried again");
      }
    }
    return "late";
  }

  #lose(message: string): void {
    this.#lost.abort(new WeirError("aborted", message));
  }
}

function newTerm(options: ElectionOptions, leaseTransitions: number): object {
  const now = isoMicros(options.clock.wallMs());
  return {
    holderIdentity: options.identity,
    leaseDurationSeconds: leaseMsOf(options) / 1000,
    acquireTime: now,
    renewTime: now,
    leaseTransitions,
  };
}
