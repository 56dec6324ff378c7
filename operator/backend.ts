// Whether the object store may be used: the answer of the backend probe. Until the probe has
// passed nothing is created in the store; a store that cannot be asked, or failed the probe, is
// asked again from time to time, so that a mended one needs no restart of the operator.
import { WeirError } from "../core/runtime/errors.ts";
import { logFault, type Logger } from "../core/runtime/log.ts";
import type { Clock, Random } from "../core/runtime/ports.ts";
import { backoffDelayMs } from "../core/runtime/retry.ts";
import { abortable } from "../core/runtime/timer-signals.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import { probeStore } from "../core/store/probe.ts";

const BACKOFF = { firstDelayMs: 1000, maxDelayMs: 60_000 };
/** One attempt; a store that needs longer is as good as not there. */
const PROBE_MS = 60_000;
/** An operator that has just started need not refuse what it can do in a moment. */
const FIRST_ANSWER_MS = 20_000;

export interface BackendOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export class Backend {
  readonly #options: BackendOptions;
  readonly #listeners = new Set<() => void>();
  readonly #firstAnswer = Promise.withResolvers<void>();
  #fault: WeirError | undefined = new WeirError(
    "store-unavailable",
    "the object store has not been checked yet: wait a moment",
  );

  constructor(options: BackendOptions) {
    this.#options = options;
  }

  /** Why it may not be used now. */
  get fault(): WeirError | undefined {
    return this.#fault;
  }

  /** Throws why it may not be used now. Waits a little while nothing is known at all. */
  async check(signal: AbortSignal): Promise<void> {
    using limit = this.#options.clock.deadline(FIRST_ANSWER_MS, signal);
    await this.untilAnswered(limit);
    if (this.#fault !== undefined) throw this.#fault;
  }

  /** Resolves when the first probe has ended, whatever it found, or the signal aborts. */
  async untilAnswered(signal: AbortSignal): Promise<void> {
    await abortable(this.#firstAnswer.promise, signal).catch(() => undefined);
  }

  /** Calls back when the answer changed; the returned function ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Asks until the store has passed, or the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      if (await this.#probe(signal)) return;
      await clock.sleep(backoffDelayMs(BACKOFF, attempt, random), signal).catch(() => undefined);
    }
  }

  async #probe(parent: AbortSignal): Promise<boolean> {
    const { store, clock, random, log } = this.#options;
    try {
      using signal = clock.deadline(PROBE_MS, parent);
      const report = await probeStore(store, { random, signal });
      log.info({ store: report.store, steps: report.steps }, "the object store passed the probe");
      this.#answer(undefined);
      return true;
    } catch (cause) {
      if (parent.aborted) return false;
      logFault(log, cause, "the object store may not be used; it is probed again");
      this.#answer(asFault(cause));
      return false;
    }
  }

  #answer(fault: WeirError | undefined): void {
    const isSame = fault?.code === this.#fault?.code && fault?.message === this.#fault?.message;
    this.#fault = fault;
    this.#firstAnswer.resolve();
    if (isSame) return;
    for (const listener of this.#listeners) listener();
  }
}

/** Whoever reads it does not know that it came out of the probe. */
function asFault(cause: unknown): WeirError {
  if (!(cause instanceof WeirError) || cause.code === "internal") {
    return new WeirError("store-unavailable", "the check of the object store failed unexpectedly", {
      cause,
    });
  }
  if (cause.code !== "deadline-exceeded" && cause.code !== "aborted") return cause;
  const message = "the object store did not answer in time: check that it can be reached";
  return new WeirError("store-unavailable", message, { cause });
}
