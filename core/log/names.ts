// Names: an index from what a user calls a volume or snapshot to its uid. The entry is created
// once, so a name has one owner. No data depends on it: a lost entry is written again by the next
// create.
//
// Entries are only written and removed by the operator, one call per object at a time; a removal
// that races with another one of the same object may take a successor's entry with it, which the
// successor's next (idempotent) create mends.

import { WeirError } from "../runtime/errors.ts";
import { asNonce } from "../runtime/ids.ts";
import { naming } from "./byte-fields.ts";
import type { LogContext } from "./context.ts";
import { deleteObject, getWhole } from "./context.ts";
import { createOwned } from "./create-object.ts";
import { decodeNameEntry, encodeRecord } from "./records.ts";

const CLAIM_TRIES_MAX = 8;

/** What became of a claim; `taken` names the owner. */
export type NameClaim =
  | { readonly kind: "ours" }
  | { readonly kind: "taken"; readonly uid: string };

/**
 * Gives the name to `uid`. The entry of an owner that is gone (`ownerExists` says no) is the rest
 * of an unfinished deletion and is replaced.
 */
export async function claimName(
  options: LogContext & {
    readonly key: string;
    readonly uid: string;
    readonly ownerExists: (uid: string) => Promise<boolean>;
  },
): Promise<NameClaim> {
  const { key, uid, random, ownerExists } = options;
  for (let tries = 0; tries < CLAIM_TRIES_MAX; tries += 1) {
    const bytes = encodeRecord({ format: 1, uid, nonce: asNonce(random.hex32()) });
    const outcome = await createOwned({ ...options, bytes });
    if (outcome.kind === "created") return { kind: "ours" };
    const owner = naming(key, () => decodeNameEntry(outcome.bytes)).uid;
    if (owner === uid) return { kind: "ours" };
    if (await ownerExists(owner)) return { kind: "taken", uid: owner };
    await deleteObject({ ...options, key });
  }
  throw new WeirError("aborted", "the name is being taken and given up by others: try again", {
    details: { key },
  });
}

/** The uid that has the name. */
export async function lookUpName(
  options: LogContext & { readonly key: string },
): Promise<string | undefined> {
  const bytes = await getWhole(options);
  return bytes === undefined ? undefined : naming(options.key, () => decodeNameEntry(bytes)).uid;
}

/** Removes the entry if it is still that of `uid`. */
export async function releaseName(
  options: LogContext & { readonly key: string; readonly uid: string },
): Promise<void> {
  if ((await lookUpName(options)) === options.uid) await deleteObject(options);
}
