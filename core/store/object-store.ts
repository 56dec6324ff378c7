// The object store as Weir needs it: immutable objects, created once, read by range, listed in
// order, deleted by the janitor. Nothing is ever overwritten, so there are no ETags and no
// conditions on reads.

/**
 * What became of a conditional create.
 * - created: this call put the object there.
 * - exists: some object is there; it may still be ours, from an earlier attempt whose answer was
 *   lost.
 * - conflict: the store saw a race (HTTP 409); nothing landed, try again.
 * - ambiguous: no clear answer (timeout, reset, 5xx); the object may or may not be there, read it
 *   back.
 */
export type CreateOutcome =
  | { readonly kind: "created" }
  | { readonly kind: "exists" }
  | { readonly kind: "conflict" }
  | { readonly kind: "ambiguous"; readonly cause: unknown };

export type GetOutcome =
  /** `bytes` is the part asked for; shorter than asked when the object ends before. */
  | { readonly kind: "found"; readonly bytes: Uint8Array; readonly objectBytes: number }
  | { readonly kind: "absent" };

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  /** The store's own clock. */
  readonly modifiedAtMs: number;
}

export interface ListPage {
  /** Ascending by key (byte order). */
  readonly objects: readonly ListedObject[];
  /** Give it as `after` to go on; absent at the end. */
  readonly next?: string;
}

export interface CallOptions {
  /**
   * Aborts the call, which then throws the signal's reason; only a create whose request may have
   * reached the store answers `ambiguous`. Implementations add their own deadline for one request.
   */
  readonly signal?: AbortSignal;
}

/**
 * A bucket (or a prefix of one, or a directory). Keys are relative, 1-512 characters of
 * [a-z0-9._/-]. Faults are thrown as WeirError: store-unavailable (retryable), store-denied,
 * store-missing, disk-full.
 */
export interface ObjectStore {
  /** For messages: `s3://bucket/prefix`, `file:///path`, `memory:`. Never holds a secret. */
  readonly label: string;
  /**
   * Creates the object if the key is absent, atomically: of many racing creates exactly one is
   * `created`. Durable when it says so.
   */
  create(key: string, body: Uint8Array, options?: CallOptions): Promise<CreateOutcome>;
  /** One request. Without a range the whole object. */
  get(key: string, options?: CallOptions & { readonly range?: ByteRange }): Promise<GetOutcome>;
  /**
   * One request: at most `limit` (<= 1000) objects whose key begins with `prefix` and is greater
   * than `after`.
   */
  list(
    prefix: string,
    options?: CallOptions & { readonly after?: string; readonly limit?: number },
  ): Promise<ListPage>;
  /** Deletes; an absent key is fine. */
  delete(key: string, options?: CallOptions): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
