// What an errno of the file system means for a store, and what its reader can do about it.

import { type FaultCode, WeirError } from "../runtime/errors.ts";

export const KEY_IS_BOTH = "one key of the directory store is both an object and a folder";

const FAULT_OF_ERRNO: Readonly<Record<string, readonly [FaultCode, string]>> = {
  ENOSPC: ["disk-full", "the disk of the directory store is full; free some space on it"],
  EDQUOT: ["disk-full", "the quota of the directory store is used up; raise it or free some space"],
  EACCES: ["store-denied", "Weir may not use the directory store; change its owner or permissions"],
  EPERM: ["store-denied", "Weir may not use the directory store; change its owner or permissions"],
  EROFS: ["store-denied", "the directory store is mounted read-only; mount it writable"],
  ENAMETOOLONG: ["invalid-argument", "an object key is too long for the directory store"],
  ENOTDIR: ["internal", KEY_IS_BOTH],
};

/** Answers of link(2) after which the name is certainly not there. */
const LINK_REFUSALS = new Set([
  "ENOSPC",
  "EDQUOT",
  "EACCES",
  "EPERM",
  "EROFS",
  "ENOENT",
  "EOPNOTSUPP",
]);

export function linkIsRefused(error: unknown): boolean {
  return hasSyscall(error, "link") && LINK_REFUSALS.has(errnoOf(error) ?? "");
}

/** The errno name of a file system error, such as `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Turns what the file system threw into a WeirError; one that is a WeirError already stays. */
export function directoryFault(error: unknown, path: string): WeirError {
  if (error instanceof WeirError) return error;
  const errno = errnoOf(error);
  if (hasSyscall(error, "link") && (errno === "EPERM" || errno === "EOPNOTSUPP")) {
    return new WeirError(
      "backend-unsafe",
      "the file system of the directory store has no hard links; use one that has, such as ext4",
      { details: { path, errno }, cause: error },
    );
  }
  const [code, message] = FAULT_OF_ERRNO[errno ?? ""] ?? [
    "store-unavailable",
    "the directory store does not answer as it should; look at its disk or mount",
  ];
  return new WeirError(code, message, { details: { path, errno }, cause: error });
}

export function directoryMissing(root: string): WeirError {
  return new WeirError(
    "store-missing",
    "the directory of the store does not exist; create it or mount it",
    { details: { path: root } },
  );
}

function hasSyscall(error: unknown, name: string): boolean {
  return error instanceof Error && "syscall" in error && error.syscall === name;
}
