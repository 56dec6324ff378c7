// SEQPACKET sockets between processes of tests: names that listeners hold, messages in order, ends
// that are seen, cuts on demand.
import { WeirError } from "../../../core/runtime/errors.ts";
import type {
  HandoffListener,
  HandoffSocket,
  HandoffSocketEvents,
} from "../../../csi-node/engine/handoff-port.ts";
import type { FakeProcess } from "./fake-process.ts";

interface Listening {
  readonly process: FakeProcess;
  readonly onConnection: (socket: HandoffSocket) => void;
}

export class FakeSockets {
  readonly #listening = new Map<string, Listening>();
  readonly #open = new Set<FakeSocket>();

  /** The newest listener has the name, as after a rename over it. */
  listen(
    process: FakeProcess,
    options: { readonly path: string; readonly onConnection: (socket: HandoffSocket) => void },
  ): HandoffListener {
    const listening = { process, onConnection: options.onConnection };
    this.#listening.set(options.path, listening);
    return {
      close: async () => {
        if (this.#listening.get(options.path) === listening) this.#listening.delete(options.path);
      },
    };
  }

  connect(process: FakeProcess, path: string): FakeSocket | null {
    const listening = this.#listening.get(path);
    if (listening === undefined || !listening.process.isAlive) return null;
    const near = new FakeSocket(process, listening.process);
    const far = new FakeSocket(listening.process, process);
    near.join(far);
    far.join(near);
    this.#open.add(near).add(far);
    process.whenDead(() => far.hangUp());
    listening.process.whenDead(() => near.hangUp());
    void listening.process.turn().then(() => listening.onConnection(far));
    return near;
  }

  /** Ends every connection, with both processes alive; how many there were. */
  cut(): number {
    const open = [...this.#open].filter((socket) => socket.isOpen);
    for (const socket of open) socket.hangUp();
    return open.length;
  }
}

export class FakeSocket implements HandoffSocket {
  readonly peer: { readonly pid: number; readonly uid: number };
  readonly #own: FakeProcess;
  readonly #other: FakeProcess;
  #far: FakeSocket | undefined;
  #open = true;
  #events: HandoffSocketEvents | undefined;
  /** Takes messages while the engine has the socket. */
  #window: ((message: Uint8Array | null) => void) | undefined;
  readonly #arrived: (Uint8Array | null)[] = [];
  /** Messages come one after the other, each when the process runs. */
  #delivery: Promise<void> = Promise.resolve();

  constructor(own: FakeProcess, other: FakeProcess) {
    this.#own = own;
    this.#other = other;
    this.peer = { pid: other.pid, uid: 0 };
  }

  join(far: FakeSocket): void {
    this.#far = far;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  listen(events: HandoffSocketEvents): void {
    this.#events = events;
    this.#flush();
  }

  async send(message: Uint8Array): Promise<void> {
    await this.#own.turn();
    if (!this.#open) throw new WeirError("engine-unavailable", "the other engine is gone");
    this.#far?.arrive(message);
  }

  isPeerAlive(): boolean {
    return this.#other.isAlive;
  }

  async killPeer(): Promise<void> {
    await this.#own.turn();
    this.#other.kill();
    await this.#own.turn();
  }

  close(): void {
    if (!this.#own.isAlive) return;
    this.#open = false;
    this.#far?.hangUp();
  }

  /** null: the other end is gone. */
  arrive(message: Uint8Array | null): void {
    this.#arrived.push(message);
    this.#flush();
  }

  hangUp(): void {
    if (!this.#open) return;
    this.#open = false;
    this.arrive(null);
  }

  /** The engine's, from now until the next call. */
  takeForWindow(take: ((message: Uint8Array | null) => void) | undefined): void {
    this.#window = take;
    this.#flush();
  }

  #flush(): void {
    this.#delivery = this.#delivery.then(async () => {
      for (;;) {
        await this.#own.turn();
        const take = this.#window ?? this.#deliver();
        const message = this.#arrived[0];
        if (take === undefined || message === undefined) return;
        this.#arrived.shift();
        take(message);
      }
    });
  }

  #deliver(): ((message: Uint8Array | null) => void) | undefined {
    const events = this.#events;
    if (events === undefined) return undefined;
    return (message) => (message === null ? events.onClose() : events.onMessage(message));
  }
}
