// Fetches frames from the bucket for all volumes of the node: each frame once, however many clones
// ask, exactly the bytes of that frame, verified by the engine before anyone sees them.
//
// Bound: bytes in flight. Failure: a frame that cannot be had is asked for again until the reader's
// deadline, then the read ends in EIO; one that does not verify is fetched once more, then given up
// (I8).
import { WeirError } from "../../core/runtime/errors.ts";
import type { ByteBudget } from "../../core/runtime/byte-budget.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { logKey } from "../../core/log/keys.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import type { BlockEngine, BlockVolume, FrameWanted } from "./block-engine.ts";

export interface FrameFetcherOptions {
  readonly engine: BlockEngine;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly budget: ByteBudget;
  readonly log: Logger;
}

export interface FetchFor {
  readonly volume: Pick<BlockVolume, "completeFetch" | "retryFetch">;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** The frame was given up. */
  readonly onFault: (fault: WeirError) => void;
}

const NOTHING = new Uint8Array(0);
const RETRY_FIRST_MS = 50;
const RETRY_LAST_MS = 2_000;

export class FrameFetcher {
  readonly #options: FrameFetcherOptions;
  /** Present from the first ask until the frame is in the clean cache. */
  readonly #inFlight = new Map<string, Promise<Uint8Array | WeirError>>();

  constructor(options: FrameFetcherOptions) {
    this.#options = options;
  }

  /** Ends when the engine has got its answer. Never rejects but for a closed engine. */
  async fetch(frame: FrameWanted, to: FetchFor): Promise<void> {
    const id = `${logKey(frame.segment)}:${frame.offset}`;
    const known = this.#inFlight.get(id);
    if (known !== undefined) {
      const got = await known;
      if (got instanceof WeirError) await this.#giveUp(frame, to, got);
      else await to.volume.completeFetch(frame.fetch, got);
      return;
    }
    if (this.#options.engine.cacheHas(frame.segment, frame.offset)) {
      await to.volume.retryFetch(frame.fetch);
      return;
    }
    const { promise, resolve } = Promise.withResolvers<Uint8Array | WeirError>();
    this.#inFlight.set(id, promise);
    try {
      const got = await this.#fetchVerified(frame, to);
      resolve(got);
      if (got instanceof WeirError) await this.#giveUp(frame, to, got);
    } finally {
      this.#inFlight.delete(id);
    }
  }

  /** The frame's bytes, after the engine accepted them for `to`; or why not. */
  async #fetchVerified(frame: FrameWanted, to: FetchFor): Promise<Uint8Array | WeirError> {
    const { budget, clock } = this.#options;
    using signal = clock.deadline(to.deadlineMs, to.signal);
    try {
      using _room = await budget.take(frame.length, { signal });
      for (const last of [false, true]) {
        const bytes = await this.#getRange(frame, signal);
        if (await to.volume.completeFetch(frame.fetch, bytes)) return bytes;
        if (last) break;
        this.#options.log.warn({ ...where(frame) }, "a frame did not verify; fetching it again");
      }
      return new WeirError(
        "object-corrupt",
        "a segment in the bucket is damaged: restore the object from a copy",
        {
          details: where(frame),
        },
      );
    } catch (cause) {
      if (cause instanceof WeirError) return cause;
      return new WeirError(
        "store-unavailable",
        "a block could not be read from the bucket in time",
        {
          details: where(frame),
          cause,
        },
      );
    }
  }

  async #getRange(frame: FrameWanted, signal: AbortSignal): Promise<Uint8Array> {
    const { store, clock, random } = this.#options;
    const key = logKey(frame.segment);
    for (let pauseMs = RETRY_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, RETRY_LAST_MS)) {
      try {
        const got = await store.get(key, {
          range: { offset: frame.offset, length: frame.length },
          signal,
        });
        // Absent can be a store that lags behind its own writes; the map says the object is there.
        if (got.kind === "found")
          return got.bytes.length === frame.length ? got.bytes : padded(got.bytes);
        this.#options.log.warn(
          where(frame),
          "a segment that the map names is absent from the bucket",
        );
      } catch (cause) {
        if (signal.aborted) throw cause;
        this.#options.log.debug(
          { ...where(frame), err: cause },
          "a fetch failed and is tried again",
        );
      }
      await clock.sleep(pauseMs * (0.5 + random.fraction() / 2), signal);
    }
  }

  async #giveUp(frame: FrameWanted, to: FetchFor, fault: WeirError): Promise<void> {
    to.onFault(fault);
    await to.volume.completeFetch(frame.fetch, NOTHING);
  }
}

/** Bytes of the wrong length cannot verify, but empty bytes would mean "given up". */
function padded(bytes: Uint8Array): Uint8Array {
  return bytes.length > 0 ? bytes : new Uint8Array(1);
}

function where(frame: FrameWanted): { key: string; offset: number; length: number } {
  return { key: logKey(frame.segment), offset: frame.offset, length: frame.length };
}
