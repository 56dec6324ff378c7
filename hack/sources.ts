// The files of the checkout that git knows or would add: not what is ignored.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "./places.ts";
import { outputOf } from "./program.ts";

/** Paths relative to the checkout, of the given git patterns such as `native/*.cc`. */
export async function sourceFiles(...patterns: string[]): Promise<string[]> {
  const list = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"];
  const listing = await outputOf([...list, ...patterns], { cwd: checkout });
  const paths = listing.split("\0").filter((path) => path !== "");
  return paths.filter((path) => existsSync(join(checkout, path)));
}
