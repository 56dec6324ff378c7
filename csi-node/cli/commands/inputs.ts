// Arguments and options that several commands take, checked the same way everywhere.
import { BLOCK_BYTES, VOLUME_BYTES_MAX } from "../../../core/log/limits.ts";
import { assert } from "../../../core/runtime/assert.ts";
import type { OptionValues } from "../options.ts";
import { parseSize } from "../units.ts";
import { UsageError } from "../usage-error.ts";

/** Nothing smaller holds a file system. */
const VOLUME_BYTES_MIN = 1024 * 1024;

/** The parser has counted them already. */
export function firstArgument(given: readonly string[]): string {
  const [first] = given;
  assert(first !== undefined, "the parser checks the number of arguments");
  return first;
}

export function twoArguments(given: readonly string[]): readonly [string, string] {
  const [first, second] = given;
  assert(first !== undefined && second !== undefined, "the parser checks the number of arguments");
  return [first, second];
}

export function sizeOption(options: OptionValues): number | undefined {
  const text = options.text("size");
  if (text === undefined) return undefined;
  const sizeBytes = parseSize(text, "--size");
  if (sizeBytes % BLOCK_BYTES !== 0) {
    throw new UsageError(`--size must be a multiple of ${BLOCK_BYTES} bytes, not "${text}"`);
  }
  if (sizeBytes < VOLUME_BYTES_MIN || sizeBytes > VOLUME_BYTES_MAX) {
    throw new UsageError(`--size must be 1 MiB at least and 64 TiB at most, not "${text}"`);
  }
  return sizeBytes;
}

export function needSize(options: OptionValues): number {
  const sizeBytes = sizeOption(options);
  if (sizeBytes !== undefined) return sizeBytes;
  throw new UsageError("the volume's size is missing: --size 10G, for example");
}
