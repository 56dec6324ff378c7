// Sizes and durations as people write them. Sizes are powers of 1024, as with lvcreate and
// truncate: 10G, 10Gi and 10GiB are the same; only 10GB is 10 * 1000^3. Durations need a unit.
import { UsageError } from "./usage-error.ts";

const SIZE = /^(?<number>\d+(?:\.\d+)?)(?<unit>[kmgt]?)(?<suffix>i?b?)$/iu;
const DURATION = /^(?<number>\d+(?:\.\d+)?)(?<unit>ms|s|m|h)$/u;
const POWERS: Readonly<Record<string, number>> = { "": 0, k: 1, m: 2, g: 3, t: 4 };
const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};
const SIZE_NAMES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function parseSize(text: string, what: string): number {
  const { number, unit = "", suffix = "" } = SIZE.exec(text)?.groups ?? {};
  const power = POWERS[unit.toLowerCase()];
  const isUnitless = unit === "" && suffix.toLowerCase().startsWith("i");
  if (number !== undefined && power !== undefined && !isUnitless) {
    const base = unit !== "" && suffix.toLowerCase() === "b" ? 1000 : 1024;
    const bytes = Number(number) * base ** power;
    if (Number.isSafeInteger(bytes)) return bytes;
  }
  throw new UsageError(
    `${what} must be a whole number of bytes such as 512MiB or 10G, not "${text}"`,
  );
}

export function parseDurationMs(text: string, what: string): number {
  const { number, unit = "" } = DURATION.exec(text)?.groups ?? {};
  const factor = MILLISECONDS[unit];
  if (number !== undefined && factor !== undefined) {
    const ms = Number(number) * factor;
    if (Number.isSafeInteger(ms)) return ms;
  }
  throw new UsageError(
    `${what} must be a time with its unit such as 100ms, 5s or 2m, not "${text}"`,
  );
}

/** With at most one decimal: 1.5 GiB. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let power = 0;
  // 1023.95 would round to "1024 MiB".
  while (value >= 1023.95 && power < SIZE_NAMES.length - 1) {
    value /= 1024;
    power += 1;
  }
  const digits = Number.isInteger(value) || power === 0 ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/u, "")} ${SIZE_NAMES[power] ?? ""}`;
}
