// The fake's history of changes, and the watches that read it: each watch has its own place in the
// history, waits at its end, and is told `expired` when the history no longer reaches back to it.

import { checkAbort } from "../runtime/timer-signals.ts";
import { abortable } from "../runtime/timer-signals.ts";

export interface Change {
  readonly kindId: string;
  readonly version: number;
  /** undefined: the object did not exist before. */
  readonly before: unknown;
  /** undefined: the object is gone. */
  readonly after: unknown;
  /** The object as its deletion left it; set when `after` is undefined. */
  readonly last: unknown;
}

type Entry = Change | { readonly bookmark: number };

export type HistoryEvent =
  | { readonly type: "change"; readonly change: Change }
  | { readonly type: "bookmark"; readonly resourceVersion: string }
  | { readonly type: "expired" };

/** Entries kept; a test that needs the server to forget calls `forget`. */
const HISTORY_ENTRIES_MAX = 20_000;

export class FakeHistory {
  #entries: Entry[] = [];
  /** How many entries were dropped from the front: places are counted from the very first. */
  #dropped = 0;
  /** Changes up to this version are forgotten. */
  #forgottenVersion = 0;
  #period = 0;
  #stalled = false;
  #moved = Promise.withResolvers<void>();
  #watches = 0;

  /** How many watches are open. */
  get watchCount(): number {
    return this.#watches;
  }

  add(entry: Entry): void {
    this.#entries.push(entry);
    while (this.#entries.length > HISTORY_ENTRIES_MAX) this.#dropFirst();
    this.#wake();
  }

  /** Forgets all changes so far, as an API server does by compaction: older watches expire. */
  forget(version: number): void {
    this.#forgottenVersion = version;
  }

  /** Ends every open watch, as an API server that restarts does. */
  endWatches(): void {
    this.#period += 1;
    this.#wake();
  }

  /** Holds events back from all watches, as a connection that is dead but not closed does. */
  stall(stalled: boolean): void {
    this.#stalled = stalled;
    this.#wake();
  }

  async *follow(
    fromVersion: number,
    signal: AbortSignal,
  ): AsyncGenerator<HistoryEvent, void, undefined> {
    const period = this.#period;
    let place = this.#dropped + this.#entries.findIndex((entry) => isAfter(entry, fromVersion));
    if (place < this.#dropped) place = this.#dropped + this.#entries.length;
    if (fromVersion < this.#forgottenVersion) {
      yield { type: "expired" };
      return;
    }
    this.#watches += 1;
    try {
      while (this.#period === period) {
        checkAbort(signal);
        const entry = this.#stalled ? undefined : this.#entries[place - this.#dropped];
        if (entry === undefined) {
          await abortable(this.#moved.promise, signal);
          continue;
        }
        place += 1;
        if ("bookmark" in entry) {
          yield { type: "bookmark", resourceVersion: String(entry.bookmark) };
        } else {
          yield { type: "change", change: entry };
        }
      }
    } finally {
      this.#watches -= 1;
    }
  }

  #dropFirst(): void {
    const first = this.#entries.shift();
    this.#dropped += 1;
    if (first !== undefined && "version" in first) this.#forgottenVersion = first.version;
  }

  #wake(): void {
    this.#moved.resolve();
    this.#moved = Promise.withResolvers<void>();
  }
}

function isAfter(entry: Entry, version: number): boolean {
  return "bookmark" in entry ? entry.bookmark > version : entry.version > version;
}
