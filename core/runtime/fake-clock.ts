// The fake clock of tests and of the simulator: time stands still until someone moves it. Timers
// fire in order of their time, those of the same time in order of their start, so a run repeats
// exactly.

import { WeirError } from "./errors.ts";
import type { Clock, DeadlineSignal } from "./ports.ts";
import { deadlineOn, sleepOn } from "./timer-signals.ts";
import type { StartTimer } from "./timer-signals.ts";

/** Real milliseconds, about, that `runUntil` grants to I/O before it calls the run stuck. */
const IDLE_TURNS_MAX = 5000;

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class FakeClock implements Clock {
  #nowMs = 0;
  #wallOffsetMs: number;
  /** In order of start; a Set keeps that order and removes in O(1). */
  readonly #timers = new Set<Timer>();

  constructor(options: { wallMs?: number } = {}) {
    this.#wallOffsetMs = options.wallMs ?? Date.UTC(2030, 0, 1);
  }

  /** Whole, as the machine's; timers may lie between two milliseconds. */
  wallMs(): number {
    return Math.floor(this.#wallOffsetMs + this.#nowMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this.#startTimer, ms, signal);
  }

  deadline(ms: number, parent?: AbortSignal): DeadlineSignal {
    return deadlineOn(this.#startTimer, ms, parent);
  }

  /** How many sleeps and deadlines are waiting: a test's proof that nothing is left behind. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, on the monotonic clock; undefined when there is none. */
  nextTimerAtMs(): number | undefined {
    return this.#next()?.atMs;
  }

  /** Moves the wall clock alone, as an administrator or NTP does. */
  jumpWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /** Lets everything run that waits for no timer. */
  async settle(): Promise<void> {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }

  /** Moves time on by `ms`, stopping at each timer on the way so that what it wakes can run. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.settle();
    for (let next = this.#next(); next !== undefined && next.atMs <= endMs; next = this.#next()) {
      this.#fire(next);
      await this.settle();
    }
    this.#nowMs = endMs;
  }

  /**
   * Moves time from timer to timer until the promise settles; gives its result. Work on other
   * threads (files, sockets) is waited for only when no timer is left, so a run with it does not
   * repeat exactly.
   */
  async runUntil<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const watch = (): void => {
      settled = true;
    };
    promise.then(watch, watch);
    for (let idleTurns = 0; idleTurns < IDLE_TURNS_MAX;) {
      await this.settle();
      if (settled) return promise;
      const next = this.#next();
      if (next !== undefined) {
        idleTurns = 0;
        this.#fire(next);
        continue;
      }
      idleTurns += 1;
      await new Promise<void>((resolve) => {
        setTimeout(resolve, 1);
      });
    }
    throw new WeirError("internal", "no timer is left on the fake clock and nothing else happens");
  }

  #startTimer: StartTimer = (ms, fire) => {
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, ms), fire };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (next === undefined || timer.atMs < next.atMs) next = timer;
    }
    return next;
  }

  #fire(timer: Timer): void {
    this.#timers.delete(timer);
    this.#nowMs = Math.max(this.#nowMs, timer.atMs);
    timer.fire();
  }
}
