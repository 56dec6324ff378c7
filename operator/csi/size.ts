// The size that a request means: whole blocks, within what the request and the format allow.
import type { CapacityRange } from "../../core/csi/generated/csi.ts";
import { BLOCK_BYTES, VOLUME_BYTES_MAX } from "../../core/log/limits.ts";
import { Refusal } from "./refusal.ts";

export const DEFAULT_BYTES = 1024 ** 3;

export interface SizeRange {
  /** A multiple of the block. */
  readonly leastBytes: number;
  /** Infinity when there is no limit. */
  readonly mostBytes: number;
}

/**
 * `defaultBytes` is for a request that names no size: what a source has, or 1 GiB. Throws
 * `invalid-argument` for nonsense and `out-of-range` for what cannot be.
 */
export function parseSize(
  range: CapacityRange | undefined,
  options: { readonly defaultBytes: number },
): SizeRange {
  const { requiredBytes = 0n, limitBytes = 0n } = range ?? {};
  if (requiredBytes < 0n || limitBytes < 0n) {
    throw new Refusal("SizeInvalid", "a capacity must not be negative");
  }
  const most = limitBytes === 0n ? Infinity : Number(limitBytes);
  const wanted = requiredBytes === 0n ? Math.min(options.defaultBytes, most) : requiredBytes;
  const leastBytes = wholeBlocks(Number(wanted), requiredBytes === 0n ? most : Infinity);
  if (leastBytes > VOLUME_BYTES_MAX) {
    throw new Refusal("SizeInvalid", "a volume holds 64 TiB at most: ask for less", {
      code: "out-of-range",
      details: { requiredBytes: String(requiredBytes) },
    });
  }
  if (leastBytes > most || leastBytes < BLOCK_BYTES) {
    throw new Refusal(
      "SizeInvalid",
      "no size fits the request: sizes are multiples of 4096 bytes, and the limit is too low",
      {
        code: "out-of-range",
        details: { requiredBytes: String(requiredBytes), limitBytes: String(limitBytes) },
      },
    );
  }
  return { leastBytes, mostBytes: most };
}

/** Up to whole blocks; down where nobody asked for a size and the limit is between two blocks. */
function wholeBlocks(bytes: number, mostBytes: number): number {
  const up = Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
  return up <= mostBytes ? up : Math.floor(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}
