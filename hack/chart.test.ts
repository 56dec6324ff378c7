// Goal: the chart is of one piece with the rest: its version is the package's, every value that a
// template reads exists in values.yaml and in the schema, and the names that code and chart share
// are the same. What helm itself finds (lint, render, install) is tested on the real cluster.
// Method: reads the chart's files as text and YAML.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { durabilitySchema } from "../crds/volume.ts";
import packageJson from "../package.json" with { type: "json" };
import { checkout } from "./places.ts";

const folder = join(checkout, "charts", "weir");
const record = z.record(z.string(), z.unknown());
const read = (path: string): string => readFileSync(join(folder, path), "utf8");
const values: unknown = parse(read("values.yaml"));
const templates = readdirSync(join(folder, "templates"), { recursive: true, encoding: "utf8" })
  .filter((path) => /\.(?:yaml|tpl|txt)$/u.test(path))
  .map((path) => ({ path, text: read(join("templates", path)) }));

it("has the version of the package", () => {
  expect(parse(read("Chart.yaml"))).toMatchObject({
    version: packageJson.version,
    appVersion: packageJson.version,
  });
});

describe.each(templates)("templates/$path", ({ text }) => {
  it("reads only values that values.yaml and its schema have", () => {
    const schema: unknown = JSON.parse(read("values.schema.json"));
    for (const path of valuePaths(text)) {
      expect(at(values, path), `values.yaml: ${path.join(".")}`).toBeDefined();
      expect(schemaAt(schema, path), `schema: ${path.join(".")}`).toBeDefined();
    }
  });
});

it("finds a value that is not there", () => {
  const [path = []] = [...valuePaths("{{ $node := .Values.node }}{{ $node.kubletPath }}")].slice(1);
  expect(path).toEqual(["node", "kubletPath"]);
  expect(at(values, path)).toBeUndefined();
});

it("offers one class for each durability", () => {
  const classes = z
    .object({ storageClasses: z.array(z.object({ parameters: record })) })
    .parse(values).storageClasses;
  const durabilities = new Set(classes.map(({ parameters }) => parameters["durability"]));
  expect(durabilities).toEqual(new Set(durabilitySchema.options));
});

/** The paths behind `.Values`, also through variables that stand for a part of it. */
function* valuePaths(text: string): Generator<string[]> {
  const aliases = new Map<string, string[]>();
  for (const [, name = "", path = ""] of text.matchAll(/\$(\w+) := \.Values\.([\w.]+)/gu)) {
    aliases.set(name, path.split("."));
  }
  for (const [, path = ""] of text.matchAll(/\.Values\.([\w.]+)/gu)) yield path.split(".");
  for (const [, name = "", path = ""] of text.matchAll(/\$(\w+)\.([\w.]+)/gu)) {
    const alias = aliases.get(name);
    if (alias !== undefined) yield [...alias, ...path.split(".")];
  }
}

function at(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const name of path) found = record.safeParse(found).data?.[name];
  return found;
}

function schemaAt(schema: unknown, path: readonly string[]): unknown {
  const definitions = at(schema, ["$defs"]);
  let found = schema;
  for (const name of path) {
    const reference = at(found, ["$ref"]);
    if (typeof reference === "string") found = at(definitions, [reference.split("/").at(-1) ?? ""]);
    const next = at(found, ["properties", name]);
    found = next ?? at(found, ["additionalProperties"]);
  }
  return found;
}
