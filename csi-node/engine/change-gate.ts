// Changes of volumes (attach, detach, snapshot, grow) and a handoff exclude each other: the handoff
// waits for those under way, those that come meanwhile wait for its end. Bounded on both sides.
import { WeirError } from "../../core/runtime/errors.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import { abortable } from "../../core/runtime/timer-signals.ts";

/** Longer than a handoff takes; kubelet and people ask again. */
const WAIT_MS = 60_000;

type Opening = "open" | "handed-over";

export class ChangeGate {
  readonly #clock: Clock;
  readonly #underWay = new Set<Promise<void>>();
  #closed: PromiseWithResolvers<Opening> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** Runs a change; `engine-unavailable` when another engine has taken over meanwhile. */
  async pass<T>(signal: AbortSignal, change: () => Promise<T>): Promise<T> {
    while (this.#closed !== undefined) await this.#waitForOpening(this.#closed.promise, signal);
    const ended = Promise.withResolvers<void>();
    this.#underWay.add(ended.promise);
    try {
      return await change();
    } finally {
      this.#underWay.delete(ended.promise);
      ended.resolve();
    }
  }

  /** Lets nothing begin any more; resolves when what was under way has ended. */
  async close(signal: AbortSignal): Promise<void> {
    this.#closed ??= Promise.withResolvers<Opening>();
    await abortable(Promise.all(this.#underWay), signal);
  }

  /** Those that wait go on, or are told that this engine is not the one any more. */
  open(opening: Opening): void {
    const closed = this.#closed;
    if (opening === "open") this.#closed = undefined;
    closed?.resolve(opening);
  }

  async #waitForOpening(opening: Promise<Opening>, signal: AbortSignal): Promise<void> {
    using deadline = this.#clock.deadline(WAIT_MS, signal);
    if ((await abortable(opening, deadline)) === "open") return;
    throw new WeirError(
      "engine-unavailable",
      "another engine of this node has taken over: ask again",
    );
  }
}
