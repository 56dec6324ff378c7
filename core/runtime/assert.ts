// Broken promises of our own code: these stay on in production, because a stopped volume is better
// than a wrong block.

import { WeirError } from "./errors.ts";
import type { FaultDetails } from "./errors.ts";

/** Throws an `internal` fault unless the condition holds; `message` says what must be true. */
export function assert(
  condition: boolean,
  message: string,
  details?: FaultDetails,
): asserts condition {
  if (!condition) throw broken(message, details);
}

/** The end of an exhaustive switch: the compiler proves that no value is left. */
export function unreachable(value: never): never {
  throw broken("every case is handled", { value: JSON.stringify(value) });
}

function broken(message: string, details: FaultDetails = {}): WeirError {
  return new WeirError("internal", `a promise of the code is broken: ${message}`, { details });
}
