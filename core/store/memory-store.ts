// A store in memory: the fake of unit tests and of the simulator. It answers in the same turn of
// the event loop, in the order of the calls, so a run repeats exactly. Bodies are copied in and
// out, as on a wire: a caller that changes its buffer later changes nothing here.

import type { Clock } from "../runtime/ports.ts";
import { checkAbort } from "../runtime/timer-signals.ts";
import type {
  ByteRange,
  CallOptions,
  CreateOutcome,
  GetOutcome,
  ListPage,
  ListedObject,
  ObjectStore,
} from "./object-store.ts";
import {
  LIST_OBJECTS_MAX,
  checkKey,
  checkLimit,
  checkPrefix,
  checkRange,
} from "./store-arguments.ts";

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly modifiedAtMs: number;
}

export class MemoryStore implements ObjectStore {
  readonly label = "memory:";
  readonly #clock: Clock;
  readonly #objects = new Map<string, StoredObject>();
  /** The keys in order; made anew by the first listing after a change. */
  #sortedKeys: readonly string[] | undefined;

  constructor(options: { clock: Clock }) {
    this.#clock = options.clock;
  }

  async create(key: string, body: Uint8Array, options: CallOptions = {}): Promise<CreateOutcome> {
    checkKey(key);
    checkAbort(options.signal);
    if (this.#objects.has(key)) return { kind: "exists" };
    this.#put(key, body);
    return { kind: "created" };
  }

  async get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange } = {},
  ): Promise<GetOutcome> {
    checkKey(key);
    checkRange(options.range);
    checkAbort(options.signal);
    const object = this.#objects.get(key);
    if (object === undefined) return { kind: "absent" };
    const { offset, length } = options.range ?? { offset: 0, length: object.bytes.length };
    const bytes = object.bytes.slice(offset, offset + length);
    return { kind: "found", bytes, objectBytes: object.bytes.length };
  }

  async list(
    prefix: string,
    options: CallOptions & { readonly after?: string; readonly limit?: number } = {},
  ): Promise<ListPage> {
    const { after = "", limit = LIST_OBJECTS_MAX } = options;
    checkPrefix(prefix);
    checkLimit(limit);
    checkAbort(options.signal);
    this.#sortedKeys ??= [...this.#objects.keys()].toSorted((a, b) => (a < b ? -1 : 1));
    const keys = this.#sortedKeys;
    const objects: ListedObject[] = [];
    for (let index = firstCandidate(keys, prefix, after); index < keys.length; index += 1) {
      const key = keys[index] ?? "";
      if (!key.startsWith(prefix)) break;
      const last = objects.at(-1);
      if (objects.length === limit && last !== undefined) return { objects, next: last.key };
      const object = this.#objects.get(key);
      if (object === undefined) continue;
      objects.push({ key, sizeBytes: object.bytes.length, modifiedAtMs: object.modifiedAtMs });
    }
    return { objects };
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    checkKey(key);
    checkAbort(options.signal);
    if (this.#objects.delete(key)) this.#sortedKeys = undefined;
  }

  /**
   * For tests and the simulator: puts bytes there whatever was there, as rot or a stranger does.
   */
  overwrite(key: string, body: Uint8Array): void {
    checkKey(key);
    this.#put(key, body);
  }

  /** For tests and the simulator: every key in order. */
  keys(): readonly string[] {
    return [...this.#objects.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #put(key: string, body: Uint8Array): void {
    this.#objects.set(key, { bytes: body.slice(), modifiedAtMs: this.#clock.wallMs() });
    this.#sortedKeys = undefined;
  }
}

/** The index of the first key that is at or behind the prefix and greater than `after`. */
function firstCandidate(keys: readonly string[], prefix: string, after: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const key = keys[middle] ?? "";
    if (key < prefix || key <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}
