// One connection as the drivers use it: messages in and out, and its end together with whether the
// process behind it lives.
import type { Clock } from "../../core/runtime/ports.ts";
import type { HandoffSocket } from "../engine/handoff-port.ts";
import { decodeMessage, encodeMessage, type Message, type PeerEvent } from "./messages.ts";

/** A process that is being killed closes its sockets a moment before it counts as gone. */
const DEATH_GRACE_MS = 1_000;
const DEATH_POLL_MS = 20;

export class Talk {
  readonly socket: HandoffSocket;
  readonly #clock: Clock;
  readonly #post: (event: PeerEvent) => void;
  #peerBuild = "";
  /** Messages go out in the order of their calls. */
  #sending: Promise<void> = Promise.resolve();
  /** The other end is gone. */
  #broken = false;
  /** Closed here. */
  #closed = false;

  constructor(options: {
    readonly socket: HandoffSocket;
    readonly clock: Clock;
    readonly post: (event: PeerEvent) => void;
  }) {
    this.socket = options.socket;
    this.#clock = options.clock;
    this.#post = options.post;
    this.socket.listen({
      onMessage: (bytes) => this.#receive(bytes),
      onClose: () => this.#hangup(),
    });
  }

  /** As it said in its greeting; empty until then. */
  get peerBuild(): string {
    return this.#peerBuild;
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
      this.#post({ kind: "garbage" });
      return;
    }
    // Of a kind that only newer versions know, outside of what was agreed on: not ours to judge.
    if (message === null) return;
    if (message.kind === "hello" || message.kind === "hello-ack") this.#peerBuild = message.build;
    this.#post({ kind: "message", message });
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
    if (!this.#closed) this.#post({ kind: "closed", peerAlive: this.socket.isPeerAlive() });
  }
}
