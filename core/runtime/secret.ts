// A string that must not be seen: it prints as `[secret]` wherever it is logged, thrown, inspected
// or turned into JSON by mistake. Only `reveal` gives it out.

import { inspect } from "node:util";

const MASK = "[secret]";

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}
