// What a command is: its help is data, so that parsing and --help cannot disagree.
import type { Cli } from "./cli.ts";
import type { OptionSpecs, OptionValues } from "./options.ts";

export interface CommandInput {
  readonly cli: Cli;
  /** As many as the command has arguments. */
  readonly arguments: readonly string[];
  readonly options: OptionValues;
}

export interface Command {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** Paragraphs, for the command's own help. */
  readonly details?: readonly string[];
  readonly arguments: readonly string[];
  readonly options: OptionSpecs;
  readonly examples: readonly string[];
  run(input: CommandInput): Promise<void>;
}

export interface CommandGroup {
  readonly title: string;
  readonly commands: readonly Command[];
}
