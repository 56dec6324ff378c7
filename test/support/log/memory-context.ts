// The ports for unit tests of the protocol: a counted store in memory, a clock that stands still.

import { FakeClock } from "../../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../../core/runtime/seeded-random.ts";
import { CountingStore } from "../../../core/store/counting-store.ts";
import { MemoryStore } from "../../../core/store/memory-store.ts";
import type { LogContext } from "../../../core/log/context.ts";

export interface MemoryContext extends LogContext {
  readonly store: CountingStore;
  readonly clock: FakeClock;
  readonly random: SeededRandom;
  /** What is really there. */
  readonly bucket: MemoryStore;
}

export function memoryContext(): MemoryContext {
  const clock = new FakeClock();
  const bucket = new MemoryStore({ clock });
  const { signal } = new AbortController();
  return { bucket, store: new CountingStore(bucket), clock, random: new SeededRandom(1), signal };
}

/** How many requests `work` makes. */
export async function countRequests<T>(
  context: MemoryContext,
  work: () => Promise<T>,
): Promise<{ readonly requests: number; readonly result: T }> {
  context.store.reset();
  const result = await work();
  return { requests: context.store.requestCount, result };
}
