// Epochs: the number a writer claims before it may write. A claim alone fences nobody; it gives the
// right to seal all older epochs (sealing.ts), and that fences their writers.

import { WeirError } from "../runtime/errors.ts";
import { asEpoch } from "../runtime/ids.ts";
import type { Epoch, Nonce, Position, VolumeUid } from "../runtime/ids.ts";
import { asNonce } from "../runtime/ids.ts";
import type { LogContext } from "./context.ts";
import { listFirst } from "./context.ts";
import { createOwned } from "./create-object.ts";
import { epochKey, epochsPrefix, expectKey, parseEpochKey } from "./keys.ts";
import { encodeRecord } from "./records.ts";

/** Claims that may be lost to others in one attempt: more means something claims in a loop. */
const CLAIM_TRIES_MAX = 64;

export interface EpochClaim {
  readonly epoch: Epoch;
  readonly nonce: Nonce;
}

/** The newest epoch that anyone claimed; 0 when there is none. */
export async function findNewestEpoch(
  options: LogContext & { readonly volume: VolumeUid },
): Promise<Epoch> {
  const first = await listFirst({ ...options, prefix: epochsPrefix(options.volume) });
  return first === undefined ? asEpoch(0) : expectKey(parseEpochKey(first.key), first.key).epoch;
}

/** Claims the first free epoch above `newest`. Of many racing claimers each gets its own number. */
export async function claimEpoch(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly newest: Epoch;
    readonly writer: string;
    readonly from: Position;
  },
): Promise<EpochClaim> {
  const { clock, random, volume, newest, writer, from } = options;
  const nonce = asNonce(random.hex32());
  for (let tries = 1; tries <= CLAIM_TRIES_MAX; tries += 1) {
    const epoch = asEpoch(newest + tries);
    const record = encodeRecord({
      format: 1,
      volume,
      epoch,
      nonce,
      writer,
      claimedAtMs: clock.wallMs(),
      from: { epoch: from.epoch, seq: from.seq },
    });
    const outcome = await createOwned({ ...options, key: epochKey(volume, epoch), bytes: record });
    if (outcome.kind === "created") return { epoch, nonce };
  }
  throw new WeirError(
    "aborted",
    "other nodes keep opening the volume at the same time: attach it to one node only",
    { details: { volume, newest } },
  );
}
