// What the user sees: results on standard output, everything else on standard error. With --json
// standard output is exactly one JSON document, whether the command worked or not.
import type { WeirError } from "../../core/runtime/errors.ts";

/** A stream of the terminal or a pipe. */
export interface TextStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface Result {
  readonly json: unknown;
  readonly text: readonly string[];
}

export class Output {
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;
  readonly #json: boolean;
  readonly #quiet: boolean;

  constructor(options: {
    readonly stdout: TextStream;
    readonly stderr: TextStream;
    readonly json: boolean;
    readonly quiet: boolean;
  }) {
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#json = options.json;
    this.#quiet = options.quiet;
  }

  /** Once per command. */
  result({ json, text }: Result): void {
    if (this.#json) this.#stdout.write(`${JSON.stringify(json, undefined, 2)}\n`);
    else for (const line of text) this.#stdout.write(`${line}\n`);
  }

  /** A part of what people are told; scripts get the whole as one document. */
  line(text: string): void {
    if (!this.#json) this.#stdout.write(`${text}\n`);
  }

  /** For people only. */
  note(line: string): void {
    if (!this.#quiet) this.#stderr.write(`${line}\n`);
  }

  fault(fault: WeirError): void {
    this.#stderr.write(`weir: ${faultSentence(fault)}\n`);
    if (!this.#json) return;
    const { code, message, details } = fault;
    this.#stdout.write(`${JSON.stringify({ fault: { code, message, details } }, undefined, 2)}\n`);
  }

  /** Where progress goes; undefined when nobody wants it. */
  get progressStream(): TextStream | undefined {
    return this.#quiet ? undefined : this.#stderr;
  }
}

/** The sentence with its variables behind it. */
function faultSentence({ message, details }: WeirError): string {
  const known = Object.entries(details).filter(([, value]) => value !== undefined);
  if (known.length === 0) return message;
  return `${message} (${known.map(([key, value]) => `${key}=${String(value)}`).join(" ")})`;
}

/** Columns with a heading; numbers are given as text. */
export function table(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
): readonly string[] {
  const all = [heading, ...rows];
  const widths = heading.map((_, column) =>
    Math.max(...all.map((row) => (row[column] ?? "").length)),
  );
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** `name  value` lines, aligned. */
export function facts(pairs: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

/** 2026-01-31 12:00:00 UTC. */
export function formatWallTime(wallMs: number): string {
  const format = new Intl.DateTimeFormat("sv-SE", {
    dateStyle: "short",
    timeStyle: "medium",
    timeZone: "UTC",
  });
  return `${format.format(wallMs)} UTC`;
}
