// The machine that fake engines share: block devices with their users, journals with their locks,
// the disk. It watches the rules: one writer of a journal, one server of a device, no error to a
// user, every acknowledged write readable.
import type { Nonce } from "../../../core/runtime/ids.ts";
import type { FakeProcess } from "./fake-process.ts";

interface JournalRecord {
  readonly seq: number;
  readonly block: number;
  readonly value: number;
}

export interface FakeJournal {
  readonly journalId: Nonce;
  readonly baseEpoch: number;
  readonly baseSeq: number;
  readonly records: JournalRecord[];
  /** Processes that hold its lock: it passes with its descriptor. */
  readonly holders: Set<FakeProcess>;
}

interface Request {
  readonly block: number;
  /** null: a read. */
  readonly value: number | null;
  readonly answer: (value: number) => void;
}

/** Whoever answers the requests of a device. */
export interface DeviceServer {
  readonly process: FakeProcess;
  /** A write is in the journal when this returns. */
  serve(request: { readonly block: number; readonly value: number | null }): number;
}

export class FakeDevice {
  readonly id: number;
  readonly #machine: FakeMachine;
  readonly #waiting: Request[] = [];
  readonly #inFlight = new Set<Request>();
  #server: DeviceServer | null = null;
  #frozen = false;

  constructor(id: number, machine: FakeMachine) {
    this.id = id;
    this.#machine = machine;
  }

  get server(): DeviceServer | null {
    return this.#server;
  }

  get isIdle(): boolean {
    return this.#inFlight.size === 0;
  }

  ask(block: number, value: number | null): Promise<number> {
    return new Promise((answer) => {
      this.#waiting.push({ block, value, answer });
      this.pump();
    });
  }

  /** What was begun and not answered is asked again, as the kernel does. */
  setServer(server: DeviceServer | null): void {
    if (server !== null && this.#server !== null && this.#server.process.isAlive) {
      this.#machine.violate(`device ${this.id} got a second server`);
    }
    this.#server = server;
    this.#frozen = false;
    this.#waiting.unshift(...this.#inFlight);
    this.#inFlight.clear();
    this.pump();
  }

  /** Nothing more is begun; what was begun still ends. */
  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    this.pump();
  }

  pump(): void {
    const server = this.#server;
    if (server === null || this.#frozen || !server.process.isRunning) return;
    if (this.#machine.diskFull) return;
    for (const request of this.#waiting.splice(0)) void this.#begin(server, request);
  }

  async #begin(server: DeviceServer, request: Request): Promise<void> {
    this.#inFlight.add(request);
    const value = server.serve(request);
    // Between the journal and the answer a process may stop, die, or lose the device.
    await server.process.clock.sleep(1);
    if (this.#server !== server || !this.#inFlight.delete(request)) return;
    request.answer(value);
  }
}

export class FakeMachine {
  readonly journals = new Map<string, FakeJournal>();
  readonly devices = new Map<number, FakeDevice>();
  readonly violations: string[] = [];
  #diskFull = false;

  get diskFull(): boolean {
    return this.#diskFull;
  }

  set diskFull(full: boolean) {
    this.#diskFull = full;
    if (!full) for (const device of this.devices.values()) device.pump();
  }

  violate(what: string): void {
    this.violations.push(what);
  }

  addDevice(id: number): FakeDevice {
    const device = new FakeDevice(id, this);
    this.devices.set(device.id, device);
    return device;
  }

  /** A new process; the machine takes back what it holds when it dies. */
  adopt(process: FakeProcess): void {
    process.whenDead(() => {
      for (const journal of this.journals.values()) journal.holders.delete(process);
      for (const device of this.devices.values()) {
        if (device.server?.process === process) device.setServer(null);
      }
    });
    process.whenRunning(() => {
      for (const device of this.devices.values()) device.pump();
    });
  }
}
