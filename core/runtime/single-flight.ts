// Joins callers that want the same thing at the same time: the work runs once and all get its
// result. A caller may leave on its own; when the last has left, the work is aborted.

import { WeirError } from "./errors.ts";
import { abortable, checkAbort } from "./timer-signals.ts";

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  waiters: number;
}

export class SingleFlight<K, T> {
  readonly #flights = new Map<K, Flight<T>>();

  /** How many different things are under way. */
  get size(): number {
    return this.#flights.size;
  }

  async run(
    key: K,
    work: (signal: AbortSignal) => Promise<T>,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    checkAbort(options.signal);
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.waiters += 1;
    try {
      return await abortable(flight.result, options.signal);
    } finally {
      flight.waiters -= 1;
      if (flight.waiters === 0) this.#end(key, flight);
    }
  }

  #start(key: K, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const result = work(controller.signal);
    const flight: Flight<T> = { result, controller, waiters: 0 };
    this.#flights.set(key, flight);
    return flight;
  }

  /** Also after success: who comes later must see the world as it is then. */
  #end(key: K, flight: Flight<T>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
    flight.controller.abort(new WeirError("aborted", "nobody waits for this work any more"));
  }
}
