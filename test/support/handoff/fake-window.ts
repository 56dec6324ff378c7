// What two fake engines say inside the window. Journals travel as they are: the descriptor of their
// lock would.
import { randomUUID } from "node:crypto";

import type { FakeJournal } from "./fake-machine.ts";
import type { FakeProcess } from "./fake-process.ts";
import type { FakeSocket } from "./fake-sockets.ts";

export type WindowWord =
  | { readonly word: "began" }
  | {
      readonly word: "handed";
      /** A batch: the last record of each volume's journal. */
      readonly seqs: Readonly<Record<string, number>>;
      readonly journals: readonly FakeJournal[];
    }
  | { readonly word: "served" }
  | { readonly word: "refused" };

/** Descriptors on the way: a message carries only their name. */
const inTransit = new Map<string, WindowWord>();

export class Window {
  readonly #socket: FakeSocket;
  readonly #process: FakeProcess;
  readonly #deadlineMs: number;
  #endsMs = 0;
  readonly #arrived: (WindowWord | null)[] = [];
  #wake: () => void = () => undefined;
  #ended = false;

  constructor(options: {
    readonly socket: FakeSocket;
    readonly process: FakeProcess;
    readonly deadlineMs: number;
  }) {
    this.#socket = options.socket;
    this.#process = options.process;
    this.#deadlineMs = options.deadlineMs;
    this.renew();
    this.#socket.takeForWindow((message) => {
      this.#ended ||= message === null;
      this.#arrived.push(message === null ? null : wordOf(message));
      this.#wake();
    });
  }

  /** The deadline begins anew. */
  renew(): void {
    this.#endsMs = this.#process.clock.monotonicMs() + this.#deadlineMs;
  }

  /** Whether it could be sent. */
  async say(word: WindowWord): Promise<boolean> {
    const name = `W${randomUUID()}`;
    inTransit.set(name, word);
    return this.#socket.send(Buffer.from(name)).then(
      () => true,
      () => false,
    );
  }

  /** null: the other end is gone, or the deadline is over. */
  async next(words: readonly WindowWord["word"][]): Promise<WindowWord | null> {
    for (;;) {
      const word = this.#arrived.shift();
      if (word === null) return null;
      if (word !== undefined && words.includes(word.word)) return word;
      if (word !== undefined) continue;
      const leftMs = this.#endsMs - this.#process.clock.monotonicMs();
      if (leftMs <= 0) return null;
      const timer = new AbortController();
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      const late = this.#process.clock.sleep(leftMs, timer.signal).catch(() => undefined);
      await Promise.race([woken, late]);
      timer.abort();
      await this.#process.turn();
    }
  }

  /** What comes now is not the engine's any more; the end, if it was seen here, is told again. */
  close(): void {
    this.#socket.takeForWindow(undefined);
    if (this.#ended) this.#socket.arrive(null);
  }
}

function wordOf(message: Uint8Array): WindowWord | null {
  return inTransit.get(Buffer.from(message).toString()) ?? null;
}
