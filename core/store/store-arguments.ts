// What every store takes as arguments, checked once at its door: what is a legal key must be the
// same in a bucket and in a directory, and no key may lead out of the directory.

import { WeirError } from "../runtime/errors.ts";
import type { ByteRange } from "./object-store.ts";

const KEY_CHARACTERS_MAX = 512;
/** Segments begin with a letter, digit, `_` or `-`: so none is `.`, `..` or hidden. */
const KEY = /^[a-z0-9_-][a-z0-9._-]*(?:\/[a-z0-9_-][a-z0-9._-]*)*$/u;
const PREFIX = /^(?:[a-z0-9_-][a-z0-9._-]*\/)*(?:[a-z0-9_-][a-z0-9._-]*)?$/u;

/** How many objects one LIST may ask for (S3's own limit). */
export const LIST_OBJECTS_MAX = 1000;

export function isKey(text: string): boolean {
  return text.length <= KEY_CHARACTERS_MAX && KEY.test(text);
}

export function checkKey(key: string): void {
  if (isKey(key)) return;
  throw new WeirError(
    "invalid-argument",
    "an object key may hold only a-z, 0-9, '.', '_', '-', '/'",
    {
      details: { key },
    },
  );
}

/** A prefix is any beginning of a key, the empty one included. */
export function checkPrefix(prefix: string): void {
  if (prefix.length <= KEY_CHARACTERS_MAX && PREFIX.test(prefix)) return;
  throw new WeirError("invalid-argument", "a prefix must be the beginning of an object key", {
    details: { prefix },
  });
}

export function checkLimit(limit: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIST_OBJECTS_MAX) return;
  throw new WeirError("invalid-argument", "a listing takes 1 to 1000 objects at a time", {
    details: { limit },
  });
}

export function checkRange(range: ByteRange | undefined): void {
  if (range === undefined) return;
  const { offset, length } = range;
  if (Number.isSafeInteger(offset + length) && offset >= 0 && length >= 1) return;
  throw new WeirError(
    "invalid-argument",
    "a byte range needs an offset of 0 or more and a length",
    {
      details: { offset, length },
    },
  );
}
