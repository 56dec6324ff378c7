// Sizes and durations as Kubernetes objects write them: "10Gi", "500ms". Both are whole numbers
// with one unit, so that the rules in the CRDs and this code agree on every accepted text.
import { z } from "zod";
import { WeirError } from "../core/runtime/errors.ts";

// Without named groups: these patterns stand in the CRDs, too.
const QUANTITY = /^(0|[1-9][0-9]{0,15})(Ki|Mi|Gi|Ti|k|M|G|T)?$/u;
const DURATION = /^(0|[1-9][0-9]{0,8})(ms|s|m|h)$/u;

/** 64 TiB: VOLUME_BYTES_MAX of core/log/limits.ts. */
export const VOLUME_BYTES_MAX_QUANTITY = "64Ti";

const UNIT_BYTES: Readonly<Record<string, number>> = {
  Ti: 1024 ** 4,
  Gi: 1024 ** 3,
  Mi: 1024 ** 2,
  Ki: 1024,
  T: 1000 ** 4,
  G: 1000 ** 3,
  M: 1000 ** 2,
  k: 1000,
};
const BINARY_UNITS = ["Ti", "Gi", "Mi", "Ki"];

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };
const TIME_UNITS = ["h", "m", "s"];

const quantityMessage = "must be a whole number of bytes such as 512Mi, 10Gi or 1Ti";
const durationMessage = "must be a whole number with its unit such as 500ms, 5s, 2m or 1h";

export const quantitySchema = z
  .string()
  .max(24, quantityMessage)
  .regex(QUANTITY, quantityMessage)
  .brand<"Quantity">();
/** A size as text: bytes, or with a binary (Ki, Mi, Gi, Ti) or decimal (k, M, G, T) unit. */
export type Quantity = z.infer<typeof quantitySchema>;

export const durationSchema = z
  .string()
  .max(16, durationMessage)
  .regex(DURATION, durationMessage)
  .brand<"Duration">();
/** A time span as text, with one of the units ms, s, m, h. */
export type Duration = z.infer<typeof durationSchema>;

/** For text that a person wrote; `what` begins the message of the `invalid-argument` fault. */
export function parseQuantity(text: string, what: string): Quantity {
  return accepted(quantitySchema.safeParse(text), `${what} ${quantityMessage}, not "${text}"`);
}

/** For text that a person wrote; `what` begins the message of the `invalid-argument` fault. */
export function parseDuration(text: string, what: string): Duration {
  return accepted(durationSchema.safeParse(text), `${what} ${durationMessage}, not "${text}"`);
}

export function quantityBytes(quantity: Quantity): number {
  return scaled(QUANTITY.exec(quantity), { units: UNIT_BYTES, text: quantity });
}

export function durationMs(duration: Duration): number {
  return scaled(DURATION.exec(duration), { units: UNIT_MS, text: duration });
}

/** The shortest exact binary form: 1073741824 is 1Gi, 1000 is 1000. */
export function formatQuantity(bytes: number): Quantity {
  const unit = BINARY_UNITS.find((unit) => divides(UNIT_BYTES[unit], bytes));
  const text = unit === undefined ? `${bytes}` : `${bytes / (UNIT_BYTES[unit] ?? 1)}${unit}`;
  return quantitySchema.parse(text);
}

/** The shortest exact form: 5000 is 5s, 1500 is 1500ms. */
export function formatDuration(milliseconds: number): Duration {
  const unit = TIME_UNITS.find((unit) => divides(UNIT_MS[unit], milliseconds)) ?? "ms";
  return durationSchema.parse(`${milliseconds / (UNIT_MS[unit] ?? 1)}${unit}`);
}

function accepted<T>(parsed: z.ZodSafeParseResult<T>, message: string): T {
  if (parsed.success) return parsed.data;
  throw new WeirError("invalid-argument", message);
}

function scaled(
  match: RegExpExecArray | null,
  { units, text }: { units: Readonly<Record<string, number>>; text: string },
): number {
  const [, digits, unit] = match ?? [];
  const factor = unit === undefined ? 1 : units[unit];
  const value = Number(digits) * (factor ?? Number.NaN);
  if (Number.isSafeInteger(value)) return value;
  throw new WeirError("invalid-argument", `"${text}" is too large`);
}

function divides(factor: number | undefined, value: number): boolean {
  return factor !== undefined && value > 0 && value % factor === 0;
}
