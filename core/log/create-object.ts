// Creates an object once and finds out whose it is. "Exists" is not "lost": the object may be ours,
// from an attempt whose answer was lost. So whenever the answer is not clear the object is read
// back and compared; the random nonce that every object carries makes equal bytes mean "that was
// me".
//
// Late application is safe: a retry sends the same bytes under the same key, so whichever attempt
// lands first is the object, and every other attempt changes nothing.

import { checkAbort } from "../runtime/timer-signals.ts";
import type { CreateOutcome } from "../store/object-store.ts";
import { corrupt } from "./byte-fields.ts";
import type { LogContext } from "./context.ts";
import { Backoff, getObject, isTransient, patienceOf } from "./context.ts";
import { SEGMENT_INDEX_READ_BYTES } from "./limits.ts";

export type OwnedOutcome =
  /** The object is there and it is ours. */
  | { readonly kind: "created" }
  /** Somebody else's object is there, for ever. `bytes` is its beginning. */
  | { readonly kind: "foreign"; readonly bytes: Uint8Array };

/**
 * Creates `key`. `bytes` must be unique (hold a nonce) within its first `readBackBytes`, and must
 * be the same on every later call for a key whose first call failed.
 */
export async function createOwned(
  options: LogContext & {
    readonly key: string;
    readonly bytes: Uint8Array;
    /** How much of an existing object is read to compare it; 128 KiB when absent. */
    readonly readBackBytes?: number;
  },
): Promise<OwnedOutcome> {
  using signal = patienceOf(options);
  const backoff = new Backoff({ ...options, signal });
  for (;;) {
    const outcome = await createOnce(options);
    if (outcome.kind === "created") return { kind: "created" };
    // A conflict is the one failure that says nothing landed; everything else must be looked at.
    if (outcome.kind !== "conflict") {
      const found = await readBack(options);
      if (found !== undefined) return found;
    }
    await backoff.wait(outcome.kind === "ambiguous" ? outcome.cause : undefined);
  }
}

async function createOnce(
  context: LogContext & { readonly key: string; readonly bytes: Uint8Array },
): Promise<CreateOutcome> {
  const { store, key, bytes, signal } = context;
  checkAbort(signal);
  try {
    return await store.create(key, bytes, { signal });
  } catch (cause) {
    checkAbort(signal);
    if (!isTransient(cause)) throw cause;
    return { kind: "ambiguous", cause };
  }
}

/** undefined: nothing is there (yet). */
async function readBack(
  context: LogContext & {
    readonly key: string;
    readonly bytes: Uint8Array;
    readonly readBackBytes?: number;
  },
): Promise<OwnedOutcome | undefined> {
  const { key, bytes } = context;
  const length = context.readBackBytes ?? SEGMENT_INDEX_READ_BYTES;
  const found = await getObject({ ...context, range: { offset: 0, length } });
  if (found.kind === "absent") return undefined;
  if (Buffer.compare(found.bytes, bytes.subarray(0, length)) !== 0) {
    return { kind: "foreign", bytes: found.bytes };
  }
  if (found.objectBytes !== bytes.length) {
    throw corrupt("the store kept only a part of it", { key, bytes: found.objectBytes });
  }
  return { kind: "created" };
}
