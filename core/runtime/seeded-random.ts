// Randomness that a seed replays: for tests, faults and the simulator. The generator is splitmix32,
// a counter put through a 32-bit mixer: short, fast, and good enough to choose between cases.

import type { Random } from "./ports.ts";

export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  hex32(): string {
    return Array.from({ length: 4 }, () => this.#next().toString(16).padStart(8, "0")).join("");
  }

  fraction(): number {
    return this.#next() / 2 ** 32;
  }

  /** Uniform in 0 ... below - 1. */
  integer(below: number): number {
    return Math.floor(this.fraction() * below);
  }

  /** A generator of its own for one part, so that parts do not disturb each other's sequence. */
  fork(): SeededRandom {
    return new SeededRandom(this.#next());
  }

  #next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }
}
