// Options: what a command declares of them, and what was given.
import { parseDurationMs, parseSize } from "./units.ts";
import { UsageError } from "./usage-error.ts";

interface OptionSpec {
  readonly help: string;
  /** Names the value in the help; absent for a flag. */
  readonly value?: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** The options as given, read by kind; which options exist was checked when they were parsed. */
export class OptionValues {
  readonly #texts: ReadonlyMap<string, string>;
  readonly #flags: ReadonlySet<string>;

  constructor(options: {
    readonly texts: ReadonlyMap<string, string>;
    readonly flags: ReadonlySet<string>;
  }) {
    this.#texts = options.texts;
    this.#flags = options.flags;
  }

  flag(name: string): boolean {
    return this.#flags.has(name);
  }

  text(name: string): string | undefined {
    return this.#texts.get(name);
  }

  sizeBytes(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : parseSize(text, `--${name}`);
  }

  durationMs(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : parseDurationMs(text, `--${name}`);
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[]): Choice | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const chosen = choices.find((choice) => choice === text);
    if (chosen !== undefined) return chosen;
    throw new UsageError(`--${name} must be ${choices.join(" or ")}, not "${text}"`);
  }
}
