// Counts requests and bytes on their way to a store: tests assert these, not times.

import type {
  ByteRange,
  CallOptions,
  CreateOutcome,
  GetOutcome,
  ListPage,
  ObjectStore,
} from "./object-store.ts";

export interface StoreCounts {
  creates: number;
  gets: number;
  lists: number;
  deletes: number;
  /** Bytes of the bodies given to create. */
  sentBytes: number;
  /** Bytes that get returned. */
  receivedBytes: number;
}

export class CountingStore implements ObjectStore {
  readonly label: string;
  readonly #inner: ObjectStore;
  #counts: StoreCounts = zeroCounts();

  constructor(inner: ObjectStore) {
    this.label = inner.label;
    this.#inner = inner;
  }

  get counts(): Readonly<StoreCounts> {
    return this.#counts;
  }

  get requestCount(): number {
    const { creates, gets, lists, deletes } = this.#counts;
    return creates + gets + lists + deletes;
  }

  reset(): void {
    this.#counts = zeroCounts();
  }

  create(key: string, body: Uint8Array, options?: CallOptions): Promise<CreateOutcome> {
    this.#counts.creates += 1;
    this.#counts.sentBytes += body.length;
    return this.#inner.create(key, body, options);
  }

  async get(
    key: string,
    options?: CallOptions & { readonly range?: ByteRange },
  ): Promise<GetOutcome> {
    this.#counts.gets += 1;
    const outcome = await this.#inner.get(key, options);
    if (outcome.kind === "found") this.#counts.receivedBytes += outcome.bytes.length;
    return outcome;
  }

  list(
    prefix: string,
    options?: CallOptions & { readonly after?: string; readonly limit?: number },
  ): Promise<ListPage> {
    this.#counts.lists += 1;
    return this.#inner.list(prefix, options);
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    this.#counts.deletes += 1;
    return this.#inner.delete(key, options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inner[Symbol.asyncDispose]();
  }
}

export function zeroCounts(): StoreCounts {
  return { creates: 0, gets: 0, lists: 0, deletes: 0, sentBytes: 0, receivedBytes: 0 };
}
