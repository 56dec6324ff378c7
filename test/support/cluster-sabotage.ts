// A broken version of Weir's engine without an image of its own: the chart's values make Node
// change one source file while it loads it, in the container. A file that does not hold the words
// to change ends the engine at once, so a test cannot pass beside it.

/** Values for the chart, as for helm's --set. */
export function sabotaged(change: {
  /** The end of the source file's path. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}): readonly string[] {
  const { file, from, to } = change;
  const program = `
    import { registerHooks } from "node:module";
    registerHooks({
      load(url, context, next) {
        const loaded = next(url, context);
        if (!url.endsWith(${JSON.stringify(file)})) return loaded;
        const [before, after] = String(loaded.source).split(${JSON.stringify(from)});
        if (after === undefined) throw new Error("nothing to sabotage");
        return { ...loaded, source: before + ${JSON.stringify(to)} + after };
      },
    });`;
  const encoded = Buffer.from(program).toString("base64");
  return [
    "node.engine.env[0].name=NODE_OPTIONS",
    // Helm takes a comma for the end of the value.
    `node.engine.env[0].value=--import=data:text/javascript;base64\\,${encoded}`,
  ];
}
