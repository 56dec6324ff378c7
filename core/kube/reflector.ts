// A reflector keeps a copy of the objects of one kind, by list and watch, and says which of them
// changed. It never gives up: every fault is followed by another attempt after a jittered delay,
// and `stalenessMs` tells how old the copy may be. Watches end often by design (a server closes
// them after some minutes), so the copy is also listed anew from time to time: what a watch lost,
// whoever's mistake it was, comes back.

import { WeirError } from "../runtime/errors.ts";
import { logFault } from "../runtime/log.ts";
import type { Logger } from "../runtime/log.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { backoffDelayMs } from "../runtime/retry.ts";
import { abortable, checkAbort } from "../runtime/timer-signals.ts";
import { keyOf } from "./kube-api.ts";
import type { Kind, KubeApi, KubeObject, ListOptions, WatchEvent } from "./kube-api.ts";

const BACKOFF = { firstDelayMs: 500, maxDelayMs: 30_000 };
/** A watch that lasted this long worked; one that ends sooner counts as a failure. */
const HEALTHY_MS = 5000;
/** Before a watch that worked and was ended by the server is taken up again. */
const PAUSE_MS = 50;
/** Every so often the list is read again although the watch seems to work. */
const RELIST_MS = 30 * 60_000;

export interface ReflectorOptions<T extends KubeObject> extends ListOptions {
  readonly api: KubeApi;
  readonly kind: Kind<T>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Told the key of an object that was added, changed or removed. Must not throw or wait. */
type ChangeListener = (key: string) => void;

export class Reflector<T extends KubeObject> implements AsyncDisposable {
  readonly #options: ReflectorOptions<T>;
  readonly #objects = new Map<string, T>();
  readonly #listeners = new Set<ChangeListener>();
  readonly #stop = new AbortController();
  readonly #synced = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #heardAtMs: number;
  #listedAtMs = -Infinity;
  #failures = 0;
  #resourceVersion: string | undefined;

  /** Starts at once. */
  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#heardAtMs = options.clock.monotonicMs();
    // Nobody may be waiting when the reflector is closed before its first list.
    this.#synced.promise.catch(() => {});
    this.#running = this.#run();
  }

  /** The object as last seen. It may be gone or newer on the server. */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  items(): readonly T[] {
    return [...this.#objects.values()];
  }

  /** Calls back on each change from now on; the returned function ends that. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when the first list is in. */
  async synced(signal: AbortSignal): Promise<void> {
    await abortable(this.#synced.promise, signal);
  }

  /** Whether the first list is in. */
  get isSynced(): boolean {
    return this.#listedAtMs !== -Infinity;
  }

  /** Milliseconds since the server last said anything: for a metric and for a health check. */
  stalenessMs(): number {
    return this.#options.clock.monotonicMs() - this.#heardAtMs;
  }

  /** The first object under `key` that satisfies; looks now and at every change. */
  async when(
    key: string,
    isDone: (object: T | undefined) => boolean,
    signal: AbortSignal,
  ): Promise<T | undefined> {
    checkAbort(signal);
    if (this.isSynced && isDone(this.get(key))) return this.get(key);
    const found = Promise.withResolvers<T | undefined>();
    const end = this.onChange((changed) => {
      if (changed === key && isDone(this.get(key))) found.resolve(this.get(key));
    });
    try {
      await this.synced(signal);
      if (isDone(this.get(key))) return this.get(key);
      return await abortable(found.promise, signal);
    } finally {
      end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new WeirError("aborted", "the reflector was closed");
    this.#stop.abort(closed);
    this.#synced.reject(closed);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const delayMs = await this.#turn(signal);
      // The only way to fail is the stop, which the loop's condition sees.
      await this.#options.clock.sleep(delayMs, signal).catch(() => {});
    }
  }

  /** One list, if it is due, and one watch; gives the wait before the next turn. */
  async #turn(signal: AbortSignal): Promise<number> {
    const { clock, random, log, kind } = this.#options;
    const startedAtMs = clock.monotonicMs();
    let isFault = false;
    try {
      await this.#watch(await this.#list(signal), signal);
    } catch (error) {
      if (signal.aborted) return 0;
      isFault = true;
      // Only a new list cures what is not the connection's fault, such as a lost or broken event.
      if (!isUnavailable(error)) this.#resourceVersion = undefined;
      logFault(log, error, `watching ${kind.plural} failed and is tried again`);
    }
    const isHealthy = clock.monotonicMs() - startedAtMs >= HEALTHY_MS;
    if (isHealthy) this.#failures = 0;
    if (isHealthy && !isFault) return PAUSE_MS;
    this.#failures += 1;
    return backoffDelayMs(BACKOFF, this.#failures, random);
  }

  /** The version to watch from: the last one heard, or that of a new list. */
  async #list(signal: AbortSignal): Promise<string> {
    const { api, kind, clock } = this.#options;
    const isDue = clock.monotonicMs() - this.#listedAtMs >= RELIST_MS;
    if (this.#resourceVersion !== undefined && !isDue) return this.#resourceVersion;
    const { items, resourceVersion } = await api.list(kind, this.#selection(), { signal });
    this.#heard(resourceVersion);
    this.#replace(items);
    this.#listedAtMs = clock.monotonicMs();
    this.#synced.resolve();
    return resourceVersion;
  }

  async #watch(resourceVersion: string, signal: AbortSignal): Promise<void> {
    const { api, kind } = this.#options;
    const from = { ...this.#selection(), resourceVersion };
    for await (const event of api.watch(kind, from, { signal })) this.#take(event);
  }

  #take(event: WatchEvent<T>): void {
    switch (event.type) {
      case "added":
      case "modified":
        this.#heard(event.object.metadata.resourceVersion);
        this.#set(event.object);
        return;
      case "deleted":
        this.#heard(event.object.metadata.resourceVersion);
        this.#delete(keyOf(event.object));
        return;
      case "bookmark":
        this.#heard(event.resourceVersion);
        return;
      case "expired":
        this.#resourceVersion = undefined;
    }
  }

  #heard(resourceVersion: string): void {
    this.#resourceVersion = resourceVersion;
    this.#heardAtMs = this.#options.clock.monotonicMs();
  }

  #replace(items: readonly T[]): void {
    const gone = new Set(this.#objects.keys());
    for (const object of items) {
      gone.delete(keyOf(object));
      this.#set(object);
    }
    for (const key of gone) this.#delete(key);
  }

  #set(object: T): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    this.#objects.set(key, object);
    if (before?.metadata.resourceVersion !== object.metadata.resourceVersion) this.#tell(key);
  }

  #delete(key: string): void {
    if (this.#objects.delete(key)) this.#tell(key);
  }

  #tell(key: string): void {
    for (const listener of this.#listeners) listener(key);
  }

  #selection(): ListOptions {
    const { namespace, labelSelector, fieldSelector } = this.#options;
    return {
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    };
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof WeirError && error.code === "kube-unavailable";
}
