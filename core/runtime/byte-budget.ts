// Bounds the bytes that are in memory or under way at once. First come, first served: a large
// request at the head of the line is not overtaken by small ones, so none waits for ever.

import { assert } from "./assert.ts";
import { abortReason, checkAbort } from "./timer-signals.ts";

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

export class ByteBudget {
  readonly #limitBytes: number;
  readonly #line = new Set<Waiter>();
  #usedBytes = 0;

  constructor(limitBytes: number) {
    assert(limitBytes > 0, "a budget has at least one byte", { limitBytes });
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get waiting(): number {
    return this.#line.size;
  }

  /**
   * Waits for room; dispose the result to give it back. One that asks for more than the whole
   * budget gets all of it, alone.
   */
  async take(bytes: number, options: { readonly signal?: AbortSignal } = {}): Promise<Disposable> {
    assert(bytes >= 0, "bytes are not negative", { bytes });
    const { signal } = options;
    checkAbort(signal);
    const counted = Math.min(bytes, this.#limitBytes);
    if (this.#line.size > 0 || !this.#fits(counted)) await this.#wait(counted, signal);
    else this.#usedBytes += counted;
    return this.#lease(counted);
  }

  #fits(bytes: number): boolean {
    return this.#usedBytes + bytes <= this.#limitBytes;
  }

  #wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#line.delete(waiter);
        if (signal !== undefined) reject(abortReason(signal));
        // Whoever stood behind may fit now.
        this.#admit();
      };
      const waiter: Waiter = {
        bytes,
        admit: () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#line.add(waiter);
    });
  }

  #admit(): void {
    for (const waiter of this.#line) {
      if (!this.#fits(waiter.bytes)) return;
      this.#line.delete(waiter);
      this.#usedBytes += waiter.bytes;
      waiter.admit();
    }
  }

  #lease(bytes: number): Disposable {
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#usedBytes -= bytes;
        this.#admit();
      },
    };
  }
}
