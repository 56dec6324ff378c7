// How names of one world become those of another. All of it is a function of the input alone, so a
// repeated request finds what the first one made.
import { createHash } from "node:crypto";

import { WeirError } from "../core/runtime/errors.ts";
import {
  asSnapshotUid,
  asVolumeUid,
  isHex32,
  type SnapshotUid,
  type VolumeUid,
} from "../core/runtime/ids.ts";
import { OBJECT_NAME, OBJECT_NAME_LENGTH_MAX } from "../crds/common-fields.ts";

/** 160 bits: as good as no collision, and short enough for a name. */
const HASH_DIGITS = 40;
const SHORT_UID_DIGITS = 12;

export function isObjectName(text: string): boolean {
  return text.length <= OBJECT_NAME_LENGTH_MAX && OBJECT_NAME.test(text);
}

/** The object for a CSI request of that name: the name itself where it may be one. */
export function volumeNameFor(requestName: string): string {
  return isObjectName(requestName) ? requestName : `v-${hashed(requestName)}`;
}

export function snapshotNameFor(requestName: string): string {
  return isObjectName(requestName) ? requestName : `s-${hashed(requestName)}`;
}

/** A new object of the same name has another uid, and so it never finds its predecessor's data. */
export function volumeUidOf(metadata: { readonly uid: string }): VolumeUid {
  return asVolumeUid(bucketUid(metadata.uid));
}

export function snapshotUidOf(metadata: { readonly uid: string }): SnapshotUid {
  return asSnapshotUid(bucketUid(metadata.uid));
}

/** The Snapshot that a clone of a volume is made through. */
export function cloneSnapshotName(clone: { readonly uid: string }): string {
  return `clone-${bucketUid(clone.uid).slice(0, SHORT_UID_DIGITS)}`;
}

function bucketUid(uid: string): string {
  const digits = uid.replaceAll("-", "").toLowerCase();
  if (isHex32(digits)) return digits;
  throw new WeirError("internal", "the API server gave an object a uid that is no UUID", {
    details: { uid },
  });
}

function hashed(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, HASH_DIGITS);
}
