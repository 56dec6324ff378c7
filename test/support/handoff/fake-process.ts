// A process of tests: everything it does passes its ports, so that it can be stopped (SIGSTOP) and
// killed (SIGKILL) between any two of its steps. What is on the way to a stopped process waits;
// to a dead one it never comes.
import type { FakeClock } from "../../../core/runtime/fake-clock.ts";
import type { Clock, DeadlineSignal } from "../../../core/runtime/ports.ts";
import { deadlineOn, sleepOn, type StartTimer } from "../../../core/runtime/timer-signals.ts";

export class FakeProcess {
  readonly pid: number;
  readonly clock: Clock;
  readonly #base: FakeClock;
  readonly #onDeath: (() => void)[] = [];
  readonly #onRun: (() => void)[] = [];
  #alive = true;
  #running = Promise.withResolvers<void>();
  #stopped = false;

  constructor(options: { readonly pid: number; readonly clock: FakeClock }) {
    this.pid = options.pid;
    this.#base = options.clock;
    this.#running.resolve();
    this.clock = this.#gatedClock();
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  get isRunning(): boolean {
    return this.#alive && !this.#stopped;
  }

  /** Resolves when the process may take its next step. */
  async turn(): Promise<void> {
    while (!this.isRunning) await this.#running.promise;
  }

  /** Something outside that answers; the answer is seen only by a process that runs. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    await this.turn();
    const outcome = await question().then(
      (value) => ({ value }) as const,
      (fault: unknown) => ({ fault }) as const,
    );
    await this.turn();
    if ("fault" in outcome) throw outcome.fault;
    return outcome.value;
  }

  whenDead(act: () => void): void {
    this.#onDeath.push(act);
  }

  whenRunning(act: () => void): void {
    this.#onRun.push(act);
  }

  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    if (!this.#stopped) this.#running = Promise.withResolvers<void>();
    for (const act of this.#onDeath) act();
  }

  stop(): void {
    if (!this.isRunning) return;
    this.#stopped = true;
    this.#running = Promise.withResolvers<void>();
  }

  resume(): void {
    if (!this.#alive || !this.#stopped) return;
    this.#stopped = false;
    this.#running.resolve();
    for (const act of this.#onRun) act();
  }

  #gatedClock(): Clock {
    const base = this.#base;
    const startTimer: StartTimer = (ms, fire) => {
      const stop = new AbortController();
      void base
        .sleep(ms, stop.signal)
        .then(() => this.turn())
        .then(() => (stop.signal.aborted ? undefined : fire()))
        .catch(() => undefined);
      return () => stop.abort();
    };
    return {
      wallMs: () => base.wallMs(),
      monotonicMs: () => base.monotonicMs(),
      sleep: (ms, signal) => sleepOn(startTimer, ms, signal),
      deadline: (ms, parent): DeadlineSignal => deadlineOn(startTimer, ms, parent),
    };
  }
}
