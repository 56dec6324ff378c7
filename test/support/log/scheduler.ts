// A deterministic scheduler for tests of the protocol: every store call and every sleep of every
// actor is a step, and a seeded random chooses which waiting step happens next. One seed, one run.

import type { Clock, DeadlineSignal } from "../../../core/runtime/ports.ts";
import type { SeededRandom } from "../../../core/runtime/seeded-random.ts";

/** More steps than any run needs: beyond it, something waits for ever or repeats for ever. */
const STEPS_MAX = 20_000;

interface Step {
  readonly label: string;
  readonly run: () => Promise<void>;
}

export class Scheduler {
  readonly #random: SeededRandom;
  readonly #waiting: Step[] = [];
  /** What happened, in order: printed when a run fails. */
  readonly trace: string[] = [];

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** Waits until the scheduler chooses this step, then does `effect`. */
  step<T>(label: string, effect: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const run = (): Promise<void> => effect().then(resolve, reject);
    this.#waiting.push({ label, run });
    return promise;
  }

  /** Runs steps in random order until all actors have ended; returns how each did. */
  async run<T>(actors: readonly Promise<T>[]): Promise<readonly PromiseSettledResult<T>[]> {
    const state = { ended: false };
    const all = Promise.allSettled(actors).finally(() => {
      state.ended = true;
    });
    await settle();
    for (let steps = 0; !state.ended; steps += 1) {
      const [next] = this.#waiting.splice(this.#random.integer(this.#waiting.length), 1);
      if (next === undefined) throw new Error("the actors wait for nothing that can happen");
      if (steps > STEPS_MAX) throw new Error(`more than ${STEPS_MAX} steps: something never ends`);
      this.trace.push(next.label);
      await next.run();
      await settle();
    }
    return all;
  }

  /** Lets everything happen that still waits: requests of the dead, and those that are late. */
  async drain(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.trace.push(next.label);
      await next.run();
      await settle();
    }
  }
}

/** Time as steps: a sleep ends when the scheduler says so, in any order; a deadline never comes. */
export class ScheduledClock implements Clock {
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  wallMs(): number {
    return 1_767_225_600_000;
  }

  monotonicMs(): number {
    return 0;
  }

  sleep(): Promise<void> {
    return this.#scheduler.step("sleep", async () => {});
  }

  deadline(_ms: number, parent?: AbortSignal): DeadlineSignal {
    const controller = new AbortController();
    const signal = parent === undefined ? controller.signal : AbortSignal.any([parent]);
    return Object.assign(signal, { [Symbol.dispose]: () => {} });
  }
}

/** Lets everything run that does not wait for a step. */
async function settle(): Promise<void> {
  await new Promise<void>((resolve) => {
    setImmediate(resolve);
  });
}
