// One call at a time for each volume or snapshot: the second caller is told to try again, as CSI
// asks for, instead of waiting for the first.
import { WeirError } from "../../core/runtime/errors.ts";

export class InFlight {
  readonly #keys = new Set<string>();

  /** `what` ends the sentence for the second caller: "the volume is being `created`". */
  async run<T>(
    key: { readonly kind: "volume" | "snapshot"; readonly name: string; readonly what: string },
    work: () => Promise<T>,
  ): Promise<T> {
    const { kind, name, what } = key;
    const id = `${kind}/${name}`;
    if (this.#keys.has(id)) {
      throw new WeirError("aborted", `the ${kind} is busy, so it cannot be ${what}: try again`, {
        details: { name },
      });
    }
    this.#keys.add(id);
    try {
      return await work();
    } finally {
      this.#keys.delete(id);
    }
  }

  get size(): number {
    return this.#keys.size;
  }
}
