// The text of --help, made from the commands themselves.
import { GLOBAL_OPTIONS } from "./args.ts";
import type { Command, CommandGroup } from "./command.ts";
import type { OptionSpecs } from "./options.ts";
import { DEFAULTS } from "./config.ts";

/** Of a paragraph; a terminal has at least so many. */
const COLUMNS = 78;

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ["WEIR_STORE", "as --store"],
  ["WEIR_STATE", "as --state"],
  ["WEIR_RUN", "as --run"],
  ["WEIR_CONFIG", "as --config"],
  ["WEIR_JOURNAL_SIZE, WEIR_CACHE_RAM, WEIR_CACHE_DISK", "as the options of serve"],
  ["WEIR_ADDON", "the native engine, when it is not in native/build"],
  ["AWS_...", "credentials, region and endpoint (AWS_ENDPOINT_URL_S3) of an s3:// store"],
];

export function programHelp(groups: readonly CommandGroup[]): string {
  return [
    "weir: block volumes that live in an S3 bucket, or in a directory",
    "",
    "Usage: weir [OPTION...] COMMAND [ARGUMENT...]",
    ...groups.flatMap(({ title, commands }) => [
      "",
      `${title}:`,
      ...columns(commands.map((command) => [synopsis(command), command.summary])),
    ]),
    "",
    "Options:",
    ...optionLines(GLOBAL_OPTIONS),
    "",
    "Environment:",
    ...columns(ENVIRONMENT),
    "",
    "Exit status: 0 done, 1 a fault (one sentence on standard error), 2 a wrong command line.",
    "",
    "Example:",
    "  weir serve &",
    "  weir create data --size 10G",
    "  weir attach data",
    "",
    "`weir COMMAND --help` tells more.",
  ].join("\n");
}

export function commandHelp(command: Command): string {
  const own = Object.keys(command.options).length > 0;
  return [
    `weir ${command.name}: ${command.summary}`,
    "",
    `Usage: weir ${synopsis(command)}${own ? " [OPTION...]" : ""}`,
    ...(command.details ?? []).flatMap((paragraph) => ["", ...wrapped(paragraph)]),
    ...(own ? ["", "Options:", ...optionLines(command.options)] : []),
    "",
    "Global options:",
    ...optionLines(GLOBAL_OPTIONS),
    "",
    command.examples.length > 1 ? "Examples:" : "Example:",
    ...command.examples.map((example) => `  ${example}`),
  ].join("\n");
}

function synopsis(command: Command): string {
  return [command.name, ...command.arguments].join(" ");
}

function optionLines(options: OptionSpecs): readonly string[] {
  return columns(
    Object.entries(options).map(([name, spec]) => {
      const preset = DEFAULTS[name];
      const help = preset === undefined ? spec.help : `${spec.help} (default ${preset})`;
      return [spec.value === undefined ? `--${name}` : `--${name} ${spec.value}`, help];
    }),
  );
}

function wrapped(paragraph: string): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of paragraph.split(" ")) {
    if (line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

function columns(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
