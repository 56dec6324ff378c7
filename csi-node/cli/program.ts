// The program without the process: from argv to an exit status. Tests run it with streams of
// their own.
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { messageOf, WeirError } from "../../core/runtime/errors.ts";
import { abortReason } from "../../core/runtime/timer-signals.ts";
import { helpCommand, parseCommandLine, type ParsedArguments } from "./args.ts";
import type { Cli } from "./cli.ts";
import { attach, detach, grow, status } from "./commands/attach.ts";
import { handoff } from "./commands/handoff.ts";
import { inspect } from "./commands/inspect.ts";
import { probe } from "./commands/probe.ts";
import { serve } from "./commands/serve.ts";
import { clone, snapshot, snapshotDelete, snapshots } from "./commands/snapshots.ts";
import { create, deleteCommand, list } from "./commands/volumes.ts";
import type { CommandGroup } from "./command.ts";
import { readSettings, type Environment } from "./config.ts";
import { commandHelp, programHelp } from "./help.ts";
import { noteLogger } from "./note-log.ts";
import { Output, type TextStream } from "./output.ts";
import { UsageError } from "./usage-error.ts";
import { VERSION } from "../../core/runtime/version.ts";

export const GROUPS: readonly CommandGroup[] = [
  {
    title: "Volumes and snapshots in the store",
    commands: [create, list, inspect, deleteCommand, clone, snapshots, snapshotDelete, probe],
  },
  { title: "The engine of this node", commands: [serve, status, attach, detach, handoff] },
  { title: "Either way", commands: [snapshot, grow] },
];

export interface ProgramWorld {
  readonly env: Environment;
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly clock: Clock;
  readonly random: Random;
  /** The first SIGINT or SIGTERM, and the second one. */
  readonly signal: AbortSignal;
  readonly hurry: AbortSignal;
}

const DONE = 0;
const FAULT = 1;
const USAGE = 2;

/** Never rejects; returns the exit status. */
export async function runProgram(argv: readonly string[], world: ProgramWorld): Promise<number> {
  // Known before the arguments are: a wrong command line is reported in the same form.
  const json = argv.includes("--json");
  const early = new Output({ ...world, json, quiet: false });
  try {
    const parsed = parseCommandLine(argv, GROUPS);
    if (showInstead(parsed, world)) return DONE;
    return await runCommand(parsed, world);
  } catch (cause) {
    return report(cause, { argv, out: early, world });
  }
}

/** --help and --version, and the help when no command is given. */
function showInstead({ command, options }: ParsedArguments, world: ProgramWorld): boolean {
  if (options.flag("version")) {
    world.stdout.write(`weir ${VERSION}\n`);
    return true;
  }
  if (command === undefined && !options.flag("help")) {
    throw new UsageError("a command is missing");
  }
  if (!options.flag("help")) return false;
  world.stdout.write(`${command === undefined ? programHelp(GROUPS) : commandHelp(command)}\n`);
  return true;
}

async function runCommand(parsed: ParsedArguments, world: ProgramWorld): Promise<number> {
  const { command, options } = parsed;
  if (command === undefined) return USAGE;
  const settings = await readSettings(options, world.env);
  const out = new Output({ ...world, json: settings.json, quiet: settings.quiet });
  const cli: Cli = { ...world, settings, out, log: noteLogger(out) };
  await command.run({ cli, arguments: parsed.arguments, options });
  return DONE;
}

function report(
  cause: unknown,
  from: { readonly argv: readonly string[]; readonly out: Output; readonly world: ProgramWorld },
): number {
  const { argv, out, world } = from;
  if (cause instanceof UsageError) {
    out.fault(new WeirError("invalid-argument", cause.message));
    out.note(`Try \`${helpCommand(argv, GROUPS)}\`.`);
    return USAGE;
  }
  out.fault(toFault(cause, world.signal));
  return FAULT;
}

function toFault(cause: unknown, signal: AbortSignal): WeirError {
  if (cause instanceof WeirError) return cause;
  if (signal.aborted) {
    const reason = abortReason(signal);
    if (reason instanceof WeirError) return reason;
  }
  return new WeirError("internal", `the command failed unexpectedly: ${messageOf(cause)}`, {
    cause,
  });
}
