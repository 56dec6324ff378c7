// Goal: a command line is understood as its writer meant it, wherever the global options stand,
// and every mistake is one sentence that names the mistake. Method: two commands made for the
// test.
import { describe, expect, test } from "vitest";

import { helpCommand, parseCommandLine } from "./args.ts";
import type { Command, CommandGroup } from "./command.ts";
import { UsageError } from "./usage-error.ts";

const nothing = () => Promise.resolve();
const create: Command = {
  name: "create",
  summary: "",
  arguments: ["NAME"],
  options: { size: { value: "SIZE", help: "" }, force: { help: "" } },
  examples: [],
  run: nothing,
};
const list: Command = {
  name: "list",
  summary: "",
  arguments: [],
  options: {},
  examples: [],
  run: nothing,
};
const groups: readonly CommandGroup[] = [{ title: "all", commands: [create, list] }];

const parse = (line: string) => parseCommandLine(line === "" ? [] : line.split(" "), groups);

describe("what is understood", () => {
  test.each([
    "create data --size 10G --store file:///s --json",
    "--store file:///s --json create data --size 10G",
    "--json create --size=10G --store=file:///s data",
    "--store file:///s create --json --size 10G data",
  ])("%s", (line) => {
    const { command, arguments: given, options } = parse(line);
    expect(command).toBe(create);
    expect(given).toStrictEqual(["data"]);
    expect([options.text("size"), options.text("store")]).toStrictEqual(["10G", "file:///s"]);
    expect([options.flag("json"), options.flag("force")]).toStrictEqual([true, false]);
  });

  test("the value of a global option is not taken for the command", () => {
    expect(parse("--store list list").options.text("store")).toBe("list");
  });

  test("what stands behind -- is an argument even when it begins with a dash", () => {
    expect(parse("create -- --size").arguments).toStrictEqual(["--size"]);
  });

  test("a value that begins with a dash can be given with =", () => {
    expect(parse("create data --size=-1").options.text("size")).toBe("-1");
  });

  test("help needs no arguments, and no command is none", () => {
    expect(parse("create --help").options.flag("help")).toBe(true);
    expect(parse("").command).toBeUndefined();
    expect(parse("--help").command).toBeUndefined();
  });
});

describe("what is refused", () => {
  test.each([
    ["frob", 'there is no command "frob"'],
    ["constructor", 'there is no command "constructor"'],
    ["create", "`weir create` needs NAME"],
    ["create a b", '`weir create` has no use for "b"'],
    ["list x", '`weir list` has no use for "x"'],
    ["create a --sise 1", "there is no option --sise for `weir create`"],
    ["list --size 1", "there is no option --size for `weir list`"],
    // Not a global option, so that it takes no value: the command is the word behind it.
    ["--size 1 list", 'there is no command "1"'],
    ["list --constructor", "there is no option --constructor for `weir list`"],
    ["list -j", "there is no option -j for `weir list`"],
    ["--sise", "there is no option --sise for `weir`"],
    ["create a --size", "--size needs a value: --size SIZE"],
    ["create a --size --force", "--size needs a value: --size SIZE"],
    ["create a --size=", "--size needs a value: --size SIZE"],
    ["create a --force=yes", "--force takes no value"],
    ["create a --size 1 --size 2", "--size is given twice"],
  ])("%s", (line, sentence) => {
    expect(() => parse(line)).toThrow(new UsageError(sentence));
  });

  test("the help of the command that was meant is named", () => {
    expect(helpCommand(["--json", "create", "--sise"], groups)).toBe("weir create --help");
    expect(helpCommand(["frob"], groups)).toBe("weir --help");
    expect(helpCommand([], groups)).toBe("weir --help");
  });
});

test("values are read by kind", () => {
  const { options } = parse("create data --size 4K");
  expect(options.sizeBytes("size")).toBe(4096);
  expect(options.sizeBytes("store")).toBeUndefined();
  expect(() => options.durationMs("size")).toThrow("--size must be a time with its unit");
  expect(options.choice("size", ["4K", "8K"])).toBe("4K");
  expect(() => options.choice("size", ["a", "b"])).toThrow('--size must be a or b, not "4K"');
});
