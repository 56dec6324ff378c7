// Numbers for new ublk devices. They are chosen here and not by the kernel, so that a volume's
// attach record names its device before the device is there: whatever a crash leaves then has an
// owner. Another program may take the number in between; then the kernel refuses, and whoever
// attaches tries again.
import type { BlockEngine } from "./block-engine.ts";

interface ChosenNumber extends Disposable {
  readonly id: number;
}

export class DeviceNumbers {
  readonly #engine: Pick<BlockEngine, "ublkDevices">;
  /** Of devices that are being made. */
  readonly #chosen = new Set<number>();

  constructor(engine: Pick<BlockEngine, "ublkDevices">) {
    this.#engine = engine;
  }

  /** The survivor's, or the lowest that is free, which stays chosen until it is disposed of. */
  async choose(survivor: number | null): Promise<ChosenNumber> {
    if (survivor !== null) return { id: survivor, [Symbol.dispose]: () => undefined };
    // Also those whose devices appear behind the list's back.
    const before = [...this.#chosen];
    const present = new Set([...(await this.#engine.ublkDevices()), ...before]);
    let id = 0;
    while (present.has(id) || this.#chosen.has(id)) id += 1;
    this.#chosen.add(id);
    return { id, [Symbol.dispose]: () => this.#chosen.delete(id) };
  }
}
