// A controller looks at one key at a time and brings the world closer to what the key's object
// wants. It is level triggered: changes only say which key to look at, and every key is looked at
// again from time to time, so a change that was lost or misunderstood heals.

import { logFault } from "../runtime/log.ts";
import type { Logger } from "../runtime/log.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { keyOf } from "./kube-api.ts";
import type { KubeObject } from "./kube-api.ts";
import { WorkQueue } from "./work-queue.ts";
import type { Outcome } from "./work-queue.ts";

/** Between two looks at everything; up to a tenth more by chance, so that controllers spread. */
const RESYNC_MS = 10 * 60 * 60_000;

/** What a controller follows: a Reflector. */
interface KeySource {
  synced(signal: AbortSignal): Promise<void>;
  onChange(listener: (key: string) => void): () => void;
  items(): readonly KubeObject[];
}

export interface ControllerOptions {
  /** For log lines and metrics: `volume`. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly concurrency: number;
  /** The longest one reconcile may take; its signal aborts then. */
  readonly deadlineMs: number;
  /** Every key of this source is reconciled, at its changes and at every resync. */
  readonly source: KeySource;
  /** What else must be known before the first reconcile, and whose changes concern which keys. */
  readonly also?: readonly {
    readonly source: KeySource;
    readonly keysOf: (changedKey: string) => readonly string[];
  }[];
  /** What it throws is logged, and the key tried again with growing delays. */
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<Outcome>;
  /** Told of every reconcile: for metrics. */
  readonly onReconciled?: (report: ReconcileReport) => void;
}

export interface ReconcileReport {
  readonly key: string;
  readonly result: Outcome["kind"];
  readonly durationMs: number;
}

export class Controller implements AsyncDisposable {
  readonly #options: ControllerOptions;
  readonly #queue: WorkQueue;
  readonly #stop = new AbortController();
  readonly #endings: (() => void)[];
  readonly #running: Promise<void>;
  #isReady = false;

  /** Starts at once; the first reconcile waits until every source is synced. */
  constructor(options: ControllerOptions) {
    const { clock, random, concurrency, source, also = [] } = options;
    this.#options = options;
    this.#queue = new WorkQueue({
      clock,
      random,
      concurrency,
      work: (key, signal) => this.#reconcile(key, signal),
    });
    this.#endings = [
      source.onChange((key) => this.enqueue(key)),
      ...also.map(({ source, keysOf }) =>
        source.onChange((changed) => {
          for (const key of keysOf(changed)) this.enqueue(key);
        }),
      ),
    ];
    this.#running = this.#run();
  }

  /** Wants a look at the key now: for changes that no source tells of. */
  enqueue(key: string): void {
    // Before that, nothing is lost: the first resync takes every key.
    if (this.#isReady) this.#queue.add(key);
  }

  get depth(): number {
    return this.#queue.depth;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#endings) end();
    this.#stop.abort();
    await this.#running;
    await this.#queue[Symbol.asyncDispose]();
  }

  async #run(): Promise<void> {
    const { clock, random, source, also = [] } = this.#options;
    const { signal } = this.#stop;
    try {
      for (const each of [source, ...also.map((other) => other.source)]) await each.synced(signal);
      this.#isReady = true;
      while (!signal.aborted) {
        for (const object of source.items()) this.#queue.add(keyOf(object));
        await clock.sleep(RESYNC_MS * (1 + random.fraction() / 10), signal);
      }
    } catch {
      // Waiting ends early only when this controller or one of its sources is closed.
    }
  }

  async #reconcile(key: string, parent: AbortSignal): Promise<Outcome> {
    const { clock, name, log, deadlineMs, reconcile, onReconciled } = this.#options;
    const startedAtMs = clock.monotonicMs();
    using signal = clock.deadline(deadlineMs, parent);
    let outcome: Outcome;
    try {
      outcome = await reconcile(key, signal);
    } catch (error) {
      outcome = { kind: "failed" };
      if (!parent.aborted) {
        logFault(log.child({ controller: name, key }), error, "a reconcile failed");
      }
    }
    const durationMs = clock.monotonicMs() - startedAtMs;
    onReconciled?.({ key, result: outcome.kind, durationMs });
    return outcome;
  }
}
