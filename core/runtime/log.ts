// The logger: pino, one JSON object per line, passed to whoever logs. A fault is logged once, where
// it is handled, at the level that its code has in the table of faults.
//
// Secrets travel as `Secret` (secret.ts), which prints as a mask; the names below are a second net
// for values that come from elsewhere, such as the headers in an SDK's error.

import { type DestinationStream, type Logger, pino } from "pino";
import { FAULTS, WeirError } from "./errors.ts";

export type { Logger };

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

const SECRET_NAMES = [
  "secretAccessKey",
  "sessionToken",
  "secret",
  "secrets",
  "password",
  "token",
  "authorization",
  "Authorization",
  '["x-amz-security-token"]',
];

export function createLogger(options: {
  readonly level: LogLevel;
  /** Which program speaks: `engine`, `operator`, `cli`, ... */
  readonly name: string;
  /** Standard output unless given. */
  readonly destination?: DestinationStream;
}): Logger {
  const settings = {
    level: options.level,
    base: { name: options.name },
    serializers: { err: describeError },
    redact: { paths: SECRET_NAMES.flatMap(atAnyDepth), censor: "[secret]" },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

/** Logs what was caught at its own level; what is no WeirError is our bug and an error. */
export function logFault(log: Logger, error: unknown, message: string): void {
  const level = error instanceof WeirError ? FAULTS[error.code].level : "error";
  log[level]({ err: error }, message);
}

/** pino's wildcards stand for one level each; deeper than this nothing of ours is logged. */
function atAnyDepth(name: string): string[] {
  const step = name.startsWith("[") ? name : `.${name}`;
  return [name, `*${step}`, `*.*${step}`, `*.*.*${step}`];
}

/** The fields that say what happened. The SDK hangs whole requests on its errors: they stay out. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack } = error;
  const cause = error.cause === undefined ? {} : { cause: describeError(error.cause) };
  if (error instanceof WeirError) {
    return { code: error.code, message, details: error.details, ...cause };
  }
  return { name, message, stack, ...cause };
}
