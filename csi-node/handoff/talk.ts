// One connection as the drivers use it: messages in and out, and its end together with whether the
// process behind it lives.
import type { Clock } from "../../core/runtime/ports.ts";
import type { HandoffSocket } from "../engine/handoff-port.ts";
import { decodeMessage, encodeMessage, type Message } from "./messages.ts";

/** A process that is being killed closes its sockets a moment before it counts as gone. */
const DEATH_GRACE_MS = 1_000;
const DEATH_POLL_MS = 20;

interface TalkEvents {
  onMessage(message: Message): void;
  onGarbage(): void;
  onClosed(peerAlive: boolean): void;
}

export class Talk {
  readonly socket: HandoffSocket;
  readonly #clock: Clock;
  readonly #events: TalkEvents;
  /** Messages go out in the order of their calls. */
  #sending: Promise<void> = Promise.resolve();
  /** The other end is gone. */
  #broken = false;
  /** Closed here. */
  #closed = false;

  constructor(options: {
    readonly socket: HandoffSocket;
    readonly clock: Clock;
    readonly events: TalkEvents;
  }) {
    this.socket = options.socket;
    this.#clock = options.clock;
    this.#events = options.events;
    this.socket.listen({
      onMessage: (bytes) => this.#receive(bytes),
      onClose: () => this.#hangup(),
    });
  }

  /** Never rejects: a message that cannot be sent ends the talk. */
  send(message: Message): void {
    const bytes = encodeMessage(message);
    this.#sending = this.#sending
      .then(() => (this.#broken ? undefined : this.socket.send(bytes)))
      .catch(() => this.#hangup());
  }

  /** After what was said is out. No event comes any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    void this.#sending.finally(() => this.socket.close());
  }

  #receive(bytes: Uint8Array): void {
    if (this.#closed) return;
    let message: Message | null;
    try {
      message = decodeMessage(bytes);
    } catch {
      this.#events.onGarbage();
      return;
    }
    // Of a kind that only newer versions know, outside of what was agreed on: not ours to judge.
    if (message !== null) this.#events.onMessage(message);
  }

  #hangup(): void {
    if (this.#broken || this.#closed) return;
    this.#broken = true;
    void this.#tellEnd();
  }

  async #tellEnd(): Promise<void> {
    const patienceEndsMs = this.#clock.monotonicMs() + DEATH_GRACE_MS;
    while (this.socket.isPeerAlive() && this.#clock.monotonicMs() < patienceEndsMs) {
      await this.#clock.sleep(DEATH_POLL_MS);
    }
    if (!this.#closed) this.#events.onClosed(this.socket.isPeerAlive());
  }
}
