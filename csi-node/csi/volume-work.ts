// One operation per volume at a time, and answers before kubelet's patience of two minutes ends.
//
// An operation that takes longer goes on without its caller: the caller is told ABORTED, which
// means "may still be running" to kubelet, and so is every later one until it has ended. Any other
// code means "certainly not running" and would make kubelet forget what it has begun.
import type { RpcCall } from "../../core/csi/rpc-service.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { logFault, type Logger } from "../../core/runtime/log.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import { abortable } from "../../core/runtime/timer-signals.ts";

const ANSWER_MS = 100_000;
/** Uploading everything that is dirty may take long; then it is begun anew. */
const WORK_MS = 30 * 60_000;

export interface VolumeWorkOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Ends all work. */
  readonly ending: AbortSignal;
}

interface Running {
  /** What is being done: `staged`, `published`, ... */
  readonly what: string;
}

export class VolumeWork {
  readonly #options: VolumeWorkOptions;
  /** By volume. */
  readonly #running = new Map<string, Running>();

  constructor(options: VolumeWorkOptions) {
    this.#options = options;
  }

  async run<T>(
    options: { readonly volumeId: string; readonly what: string; readonly call: RpcCall },
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { volumeId, what, call } = options;
    const present = this.#running.get(volumeId);
    if (present !== undefined) {
      throw new WeirError(
        "aborted",
        `the volume is still being ${present.what}: try again when that has ended`,
      );
    }
    const running: Running = { what };
    this.#running.set(volumeId, running);
    const { clock } = this.#options;
    const working = this.#work(volumeId, work);
    using limit = clock.deadline(ANSWER_MS, call.signal);
    try {
      return await abortable(working, limit);
    } catch (cause) {
      if (this.#running.get(volumeId) !== running) throw cause;
      this.#watchLate(working, { volumeId, what });
      throw new WeirError("aborted", `the volume is still being ${what}: it goes on, try again`, {
        cause,
      });
    }
  }

  async #work<T>(volumeId: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, ending } = this.#options;
    using signal = clock.deadline(WORK_MS, ending);
    try {
      return await work(signal);
    } finally {
      this.#running.delete(volumeId);
    }
  }

  /** Nobody waits any more for what comes of it. */
  #watchLate(
    working: Promise<unknown>,
    { volumeId, what }: { readonly volumeId: string; readonly what: string },
  ): void {
    const { log } = this.#options;
    working.then(
      () => log.info({ volumeId }, `the volume was ${what} after its caller had gone`),
      (cause: unknown) => logFault(log, cause, `the volume could not be ${what}: ${volumeId}`),
    );
  }
}
