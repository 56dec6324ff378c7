// What every operation of the log protocol takes, and how it repeats requests: nothing here waits
// without a deadline, and only a store that may answer later is asked again.

import { WeirError } from "../runtime/errors.ts";
import type { Clock, DeadlineSignal, Random } from "../runtime/ports.ts";
import { checkAbort } from "../runtime/timer-signals.ts";
import type { GetOutcome, ListedObject, ObjectStore } from "../store/object-store.ts";
import type { ByteRange } from "../store/object-store.ts";
import type { SnapshotRecord, VolumeRecord } from "./records.ts";

export interface LogContext {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** How long one request may be repeated before the operation fails; 60 s when absent. */
  readonly patienceMs?: number;
  /** Looks through the bucket for several operations at once; each for itself when absent. */
  readonly scans?: RecordScans;
}

/** All records that were there when it was asked for them, and perhaps some of later. */
export interface RecordScans {
  volumes(signal: AbortSignal): Promise<readonly VolumeRecord[]>;
  snapshots(signal: AbortSignal): Promise<readonly SnapshotRecord[]>;
}

const PATIENCE_MS = 60_000;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_LAST_MS = 2_000;
const LIST_PAGE = 1000;
/** Requests of one operation that run at the same time. */
const PARALLEL_MAX = 16;

/** Ends with the caller's signal or with the patience for one request; `using` frees its timer. */
export function patienceOf(context: LogContext): DeadlineSignal {
  return context.clock.deadline(context.patienceMs ?? PATIENCE_MS, context.signal);
}

/** Paces the repetitions of one request: longer each time, with jitter so that many do not meet. */
export class Backoff {
  readonly #context: LogContext;
  #nextMs = BACKOFF_FIRST_MS;
  #lastCause: unknown;

  constructor(context: LogContext) {
    this.#context = context;
  }

  /**
   * Waits before the next repetition. `cause` is why one is needed, for the message if it was all
   * in vain.
   */
  async wait(cause?: unknown): Promise<void> {
    this.#lastCause = cause ?? this.#lastCause;
    const { clock, random, signal } = this.#context;
    const pauseMs = this.#nextMs * (0.5 + random.fraction() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, BACKOFF_LAST_MS);
    try {
      await clock.sleep(pauseMs, signal);
    } catch (reason) {
      this.#explain();
      throw reason;
    }
  }

  /** Says that the store did not answer rather than only that time is up. */
  #explain(): void {
    const { signal } = this.#context;
    const reason: unknown = signal.reason;
    const timeIsUp = reason instanceof WeirError && reason.code === "deadline-exceeded";
    if (signal.aborted && timeIsUp && this.#lastCause !== undefined) {
      const message = "the object store did not answer in time: check that it can be reached";
      throw new WeirError("store-unavailable", message, { cause: this.#lastCause });
    }
    checkAbort(signal);
  }
}

export async function getObject(
  options: LogContext & { readonly key: string; readonly range?: ByteRange },
): Promise<GetOutcome> {
  const { key, range } = options;
  return repeat(options, ({ store, signal }) =>
    store.get(key, range === undefined ? { signal } : { signal, range }),
  );
}

/** The whole object, or undefined. */
export async function getWhole(
  options: LogContext & { readonly key: string },
): Promise<Uint8Array | undefined> {
  const outcome = await getObject(options);
  return outcome.kind === "found" ? outcome.bytes : undefined;
}

export async function deleteObject(options: LogContext & { readonly key: string }): Promise<void> {
  await repeat(options, ({ store, signal }) => store.delete(options.key, { signal }));
}

/** The first object of a prefix: the newest, where keys descend. */
export async function listFirst(
  options: LogContext & { readonly prefix: string },
): Promise<ListedObject | undefined> {
  const page = await repeat(options, ({ store, signal }) =>
    store.list(options.prefix, { signal, limit: 1 }),
  );
  return page.objects[0];
}

/** Some objects of a prefix behind `after`, without a gap; none when none is left. */
export async function listBehind(
  options: LogContext & { readonly prefix: string; readonly after: string },
): Promise<readonly ListedObject[]> {
  const { prefix, after } = options;
  const behind = after === "" ? {} : { after };
  const page = await repeat(options, ({ store, signal }) =>
    store.list(prefix, { signal, limit: LIST_PAGE, ...behind }),
  );
  return page.objects;
}

/** Every object of a prefix, page by page. */
export async function* listAll(
  options: LogContext & { readonly prefix: string; readonly after?: string },
): AsyncGenerator<ListedObject> {
  let after = options.after;
  for (;;) {
    const from = after === undefined ? {} : { after };
    const page = await repeat(options, ({ store, signal }) =>
      store.list(options.prefix, { signal, limit: LIST_PAGE, ...from }),
    );
    yield* page.objects;
    if (page.next === undefined) return;
    after = page.next;
  }
}

/**
 * Maps in order, with a bounded number of calls at the same time. After a failure no call begins
 * any more, and it is thrown when the calls under way have ended: nothing goes on behind the
 * caller's back.
 */
export async function mapParallel<In, Out>(
  items: readonly In[],
  call: (item: In) => Promise<Out>,
): Promise<readonly Out[]> {
  const results: Out[] = [];
  const failures: unknown[] = [];
  const work = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of work) {
      try {
        results[index] = await call(item);
      } catch (cause) {
        failures.push(cause);
      }
      if (failures.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_MAX, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}

/**
 * Runs a request that is safe to repeat until the store answers or the patience ends. The patience
 * is for beginning again: a request under way is bounded by the store, and never cut off by it.
 */
async function repeat<T>(
  options: LogContext,
  request: (context: LogContext) => Promise<T>,
): Promise<T> {
  using signal = patienceOf(options);
  const backoff = new Backoff({ ...options, signal });
  for (;;) {
    checkAbort(options.signal);
    try {
      return await request(options);
    } catch (cause) {
      checkAbort(options.signal);
      if (!isTransient(cause)) throw cause;
      await backoff.wait(cause);
    }
  }
}

/** The store did not answer, and may if it is asked again. */
export function isTransient(cause: unknown): boolean {
  return cause instanceof WeirError && TRANSIENT.has(cause.code);
}

const TRANSIENT: ReadonlySet<string> = new Set(["store-unavailable", "deadline-exceeded"]);
