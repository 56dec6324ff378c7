// Tells people what happened to an object, by events beside it. Callers never wait. Equal events
// are one event with a count that grows at most once a minute, so an operator that fails in a loop
// does not flood the API server. An event that cannot be sent for some minutes is dropped: events
// are help for people, conditions are the truth.

import { logFault } from "../runtime/log.ts";
import type { Logger } from "../runtime/log.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import type { KubeApi, KubeEvent } from "./kube-api.ts";
import { WorkQueue } from "./work-queue.ts";
import type { Outcome } from "./work-queue.ts";

/** Between two updates of the count of one event. */
const UPDATE_MS = 60_000;
/** Equal events further apart than this are different ones. */
const SERIES_MS = 10 * 60_000;
/** An event that could not be sent for this long is dropped. */
const GIVE_UP_MS = 2 * 60_000;
/** Kinds of events remembered; beyond that the oldest is forgotten and would begin anew. */
const SERIES_MAX = 1000;
const SENDERS = 2;

interface Series {
  readonly event: KubeEvent;
  readonly name: string;
  count: number;
  sentCount: number;
  sentAtMs: number;
  lastAtMs: number;
}

export interface EventRecorderOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export class EventRecorder implements AsyncDisposable {
  readonly #options: EventRecorderOptions;
  readonly #queue: WorkQueue;
  /** In order of their begin. */
  readonly #series = new Map<string, Series>();

  constructor(options: EventRecorderOptions) {
    const { clock, random } = options;
    this.#options = options;
    this.#queue = new WorkQueue({
      clock,
      random,
      concurrency: SENDERS,
      work: (key, signal) => this.#send(key, signal),
    });
  }

  record(event: KubeEvent): void {
    const nowMs = this.#options.clock.monotonicMs();
    const key = keyOf(event);
    const known = this.#series.get(key);
    if (known === undefined || nowMs - known.lastAtMs > SERIES_MS) this.#begin(key, event);
    else known.count += 1;
    const series = this.#series.get(key);
    if (series !== undefined) series.lastAtMs = nowMs;
    this.#queue.addAfter(key, Math.max(0, (series?.sentAtMs ?? 0) + UPDATE_MS - nowMs));
  }

  /** What was not sent yet is dropped. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#queue[Symbol.asyncDispose]();
  }

  #begin(key: string, event: KubeEvent): void {
    this.#series.delete(key);
    const [oldest] = this.#series.keys();
    if (this.#series.size >= SERIES_MAX && oldest !== undefined) this.#series.delete(oldest);
    const name = `${event.regarding.name}.${this.#options.random.hex32().slice(0, 16)}`;
    const never = { sentCount: 0, sentAtMs: -Infinity, lastAtMs: 0 };
    this.#series.set(key, { event, name, count: 1, ...never });
  }

  async #send(key: string, signal: AbortSignal): Promise<Outcome> {
    const { api, clock, log } = this.#options;
    const series = this.#series.get(key);
    if (series === undefined || series.sentCount === series.count) return { kind: "done" };
    const { event, name, count } = series;
    try {
      await api.record({ ...event, series: { name, count } }, { signal });
      series.sentCount = count;
      series.sentAtMs = clock.monotonicMs();
      return { kind: "done" };
    } catch (error) {
      if (signal.aborted) return { kind: "done" };
      if (clock.monotonicMs() - series.lastAtMs < GIVE_UP_MS) return { kind: "failed" };
      const { reason, regarding } = event;
      logFault(log.child({ reason, object: regarding.name }), error, "an event was dropped");
      return { kind: "done" };
    }
  }
}

function keyOf(event: KubeEvent): string {
  const { regarding, type, reason, note, action } = event;
  return JSON.stringify([regarding.uid, regarding.kind, type, reason, note, action]);
}
