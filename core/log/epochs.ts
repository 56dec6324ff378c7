// Epochs: the number a writer claims before it may write. A claim alone fences nobody; it gives the
// right to seal all older epochs (sealing.ts), and that fences their writers.

import { WeirError } from "../runtime/errors.ts";
import { asEpoch } from "../runtime/ids.ts";
import type { Epoch, Nonce, Position, VolumeUid } from "../runtime/ids.ts";
import { asNonce } from "../runtime/ids.ts";
import { corrupt, naming } from "./byte-fields.ts";
import type { LogContext } from "./context.ts";
import { getWhole, listFirst } from "./context.ts";
import { createOwned } from "./create-object.ts";
import { epochKey, epochsPrefix, expectKey, parseEpochKey } from "./keys.ts";
import { decodeEpochRecord, encodeRecord } from "./records.ts";

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

/** Refuses with `fenced` unless epoch `newest` was claimed by `writer`, or nobody claimed yet. */
export async function refuseForeignEpoch(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly newest: Epoch;
    readonly writer: string;
  },
): Promise<void> {
  const { volume, newest, writer } = options;
  if (newest === 0) return;
  const key = epochKey(volume, newest);
  const bytes = await getWhole({ ...options, key });
  if (bytes === undefined) throw corrupt("it is missing from the bucket", { key });
  const owner = naming(key, () => decodeEpochRecord(bytes)).writer;
  if (owner !== writer) throw takenOver(volume, owner);
}

/**
 * Claims the first free epoch above `newest`. Of many racing claimers each gets its own number.
 * `tries` 1: the number above `newest` or, as `fenced`, none.
 */
export async function claimEpoch(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly newest: Epoch;
    readonly writer: string;
    readonly from: Position;
    readonly tries?: 1 | undefined;
  },
): Promise<EpochClaim> {
  const {
    clock,
    random,
    volume,
    newest,
    writer,
    from,
    tries: triesMax = CLAIM_TRIES_MAX,
  } = options;
  const nonce = asNonce(random.hex32());
  for (let tries = 1; tries <= triesMax; tries += 1) {
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
  if (triesMax === 1) throw takenOver(volume, "another node");
  throw new WeirError(
    "aborted",
    "other nodes keep opening the volume at the same time: attach it to one node only",
    { details: { volume, newest } },
  );
}

function takenOver(volume: VolumeUid, owner: string): WeirError {
  return new WeirError(
    "fenced",
    `${owner} attached the volume while this node was away, and owns it now`,
    { details: { volume, owner } },
  );
}
