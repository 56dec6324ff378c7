// Collects what the code under test logs, so that a warning nobody expected fails the test. Give
// `captureLogs()` to pino as its destination, or feed it the output of a process of ours; list what
// a test expects with `expectLog`. test/support/fail-on-unlisted-logs.ts checks after each test.

interface LogLine {
  readonly level: number;
  readonly text: string;
}

/** pino's number for `warn`. */
const WARN = 40;

let lines: LogLine[] = [];
let expected: RegExp[] = [];

/**
 * A destination for `pino(options, captureLogs())`; also takes raw chunks of a process's output.
 */
export function captureLogs(): { write(chunk: string): void } {
  let rest = "";
  return {
    write(chunk) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) {
        const level = levelOf(part);
        if (level !== undefined) {
          lines.push({ level, text: part });
        }
      }
    },
  };
}

/** States that this test makes such a warning or error; it need not appear more than once. */
export function expectLog(pattern: RegExp): void {
  expected.push(pattern);
}

/** Everything logged since the last call, for assertions on the text itself. */
export function loggedLines(): readonly string[] {
  return lines.map((line) => line.text);
}

/**
 * Forgets this test's lines; returns what it did wrong: unlisted lines and listed ones not seen.
 */
export function takeLogComplaints(): string[] {
  const loud = lines.filter((line) => line.level >= WARN).map((line) => line.text);
  const unlisted = loud.filter((text) => !expected.some((pattern) => pattern.test(text)));
  const unseen = expected.filter((pattern) => !loud.some((text) => pattern.test(text)));
  lines = [];
  expected = [];
  return [
    ...unlisted.map((text) => `logged, but not listed with expectLog: ${text}`),
    ...unseen.map((pattern) => `listed with expectLog, but never logged: ${pattern.source}`),
  ];
}

/** The level of a pino line; undefined when the line is not one. */
function levelOf(text: string): number | undefined {
  if (!text.startsWith("{")) {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(text);
    const isRecord = typeof value === "object" && value !== null && "level" in value;
    return isRecord && typeof value.level === "number" ? value.level : undefined;
  } catch {
    return undefined;
  }
}
