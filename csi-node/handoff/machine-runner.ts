// Runs a pure machine: one event at a time, its deadline on the clock, its time in each state.
import { assert } from "../../core/runtime/assert.ts";
import type { Clock } from "../../core/runtime/ports.ts";

interface Step<State, Action> {
  readonly state: State;
  readonly actions: readonly Action[];
}

export interface MachineOptions<State, Event, Action> {
  readonly initial: State;
  readonly step: (state: State, event: Event) => Step<State, Action>;
  /** Begins what an action says; what it leads to comes back as an event. Never throws. */
  readonly perform: (action: Action) => void;
  readonly onDeadline: Event;
  /** After each change of state. */
  readonly onState?: ((name: string) => void) | undefined;
  readonly clock: Clock;
}

export class MachineRunner<State extends { readonly name: string }, Event, Action> {
  readonly #options: MachineOptions<State, Event, Action>;
  readonly #events: Event[] = [];
  #state: State;
  #running = false;
  #timer: AbortController | undefined;
  #enteredAtMs: number;
  #phasesMs: Record<string, number> = {};

  constructor(options: MachineOptions<State, Event, Action>) {
    this.#options = options;
    this.#state = options.initial;
    this.#enteredAtMs = options.clock.monotonicMs();
  }

  get state(): State {
    return this.#state;
  }

  /** Time spent in each state since the last call of this. */
  takePhases(): Readonly<Record<string, number>> {
    this.#account();
    const phases = this.#phasesMs;
    this.#phasesMs = {};
    return phases;
  }

  post(event: Event): void {
    this.#events.push(event);
    // An action may post at once; its event comes after the actions of this one.
    if (this.#running) return;
    this.#running = true;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
        this.#take(next);
      }
    } finally {
      this.#running = false;
    }
  }

  arm(ms: number): void {
    this.disarm();
    const timer = new AbortController();
    this.#timer = timer;
    this.#options.clock.sleep(ms, timer.signal).then(
      () => {
        if (this.#timer === timer) this.post(this.#options.onDeadline);
      },
      () => undefined,
    );
  }

  disarm(): void {
    this.#timer?.abort();
    this.#timer = undefined;
  }

  #take(event: Event): void {
    const { step, perform, onState } = this.#options;
    const before = this.#state.name;
    const next = step(this.#state, event);
    assert(next.state !== undefined, "a machine always has a state");
    if (next.state.name !== before) this.#account();
    this.#state = next.state;
    for (const action of next.actions) perform(action);
    if (next.state.name !== before) onState?.(next.state.name);
  }

  #account(): void {
    const now = this.#options.clock.monotonicMs();
    const { name } = this.#state;
    const spent = Math.round((now - this.#enteredAtMs) * 10) / 10;
    this.#phasesMs[name] = (this.#phasesMs[name] ?? 0) + spent;
    this.#enteredAtMs = now;
  }
}
