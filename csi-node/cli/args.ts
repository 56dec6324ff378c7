// From argv to a command with its arguments and options. Global options may stand before or
// behind the command's name. Every mistake is a UsageError of one sentence.
import { parseArgs, type ParseArgsConfig } from "node:util";

import type { Command, CommandGroup } from "./command.ts";
import { OptionValues, type OptionSpecs } from "./options.ts";
import { UsageError } from "./usage-error.ts";

export const GLOBAL_OPTIONS: OptionSpecs = {
  store: { value: "URL", help: "where volumes live: file:///path or s3://bucket[/prefix]" },
  state: { value: "DIR", help: "journals and the clean cache of this node" },
  run: { value: "DIR", help: "sockets of this node's engine" },
  config: { value: "FILE", help: "settings of the engine, as JSON" },
  json: { help: "print exactly one JSON document" },
  quiet: { help: "no progress, no notes" },
  help: { help: "show help" },
  version: { help: "show the version" },
};

export interface ParsedArguments {
  /** undefined: only global options were given. */
  readonly command: Command | undefined;
  readonly arguments: readonly string[];
  readonly options: OptionValues;
}

export function parseCommandLine(
  argv: readonly string[],
  groups: readonly CommandGroup[],
): ParsedArguments {
  const at = commandIndex(argv);
  const name = argv[at];
  const command = name === undefined ? undefined : findCommand(name, groups);
  if (name !== undefined && command === undefined) {
    throw new UsageError(`there is no command "${name}"`);
  }
  const rest = argv.toSpliced(at, 1);
  const known = { ...GLOBAL_OPTIONS, ...command?.options };
  const { positionals, options } = parseOptions(rest, known, command);
  if (command !== undefined && !options.flag("help")) checkArguments(command, positionals);
  return { command, arguments: positionals, options };
}

/** Where help for a wrong command line is. */
export function helpCommand(argv: readonly string[], groups: readonly CommandGroup[]): string {
  const command = findCommand(argv[commandIndex(argv)] ?? "", groups);
  return `${programOf(command)} --help`;
}

/**
 * The first word that is neither a global option nor the value of one; argv.length when there is
 * none.
 */
function commandIndex(argv: readonly string[]): number {
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? "";
    if (!word.startsWith("-")) return index;
    const takesValue = GLOBAL_OPTIONS[word.slice(2)]?.value !== undefined;
    if (takesValue) index += 1;
  }
  return argv.length;
}

function findCommand(name: string, groups: readonly CommandGroup[]): Command | undefined {
  return groups.flatMap((group) => group.commands).find((command) => command.name === name);
}

function parseOptions(
  argv: readonly string[],
  known: OptionSpecs,
  command: Command | undefined,
): { positionals: readonly string[]; options: OptionValues } {
  const config: NonNullable<ParseArgsConfig["options"]> = {};
  for (const [name, spec] of Object.entries(known)) {
    config[name] = { type: spec.value === undefined ? "boolean" : "string" };
  }
  // Not strict: Node's own sentences would be longer than one, so the tokens are checked here.
  const { tokens } = parseArgs({
    args: [...argv],
    options: config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals: string[] = [];
  const texts = new Map<string, string>();
  const flags = new Set<string>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const { name, rawName, value, inlineValue } = token;
    const spec = Object.hasOwn(known, name) && rawName.startsWith("--") ? known[name] : undefined;
    if (spec === undefined) {
      throw new UsageError(`there is no option ${rawName} for \`${programOf(command)}\``);
    }
    if (spec.value === undefined) {
      if (value !== undefined) throw new UsageError(`${rawName} takes no value`);
      flags.add(name);
      continue;
    }
    // A value that begins with a dash is a forgotten value, unless it is given with "=".
    if (value === undefined || value === "" || (!inlineValue && value.startsWith("-"))) {
      throw new UsageError(`${rawName} needs a value: ${rawName} ${spec.value}`);
    }
    if (texts.has(name)) throw new UsageError(`${rawName} is given twice`);
    texts.set(name, value);
  }
  return { positionals, options: new OptionValues({ texts, flags }) };
}

function checkArguments(command: Command, given: readonly string[]): void {
  const missing = command.arguments[given.length];
  if (missing !== undefined) {
    throw new UsageError(`\`${programOf(command)}\` needs ${missing}`);
  }
  const extra = given[command.arguments.length];
  if (extra !== undefined) {
    throw new UsageError(`\`${programOf(command)}\` has no use for "${extra}"`);
  }
}

function programOf(command: Command | undefined): string {
  return command === undefined ? "weir" : `weir ${command.name}`;
}
