// Lists the objects below a directory in byte order of their keys, reading only the folders that
// can hold a key behind `after`, and no further than its reader goes on.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { errnoOf } from "./directory-faults.ts";

interface Entry {
  /** Below the folder; a folder's name ends in `/`, so that sorting by it is sorting by key. */
  readonly name: string;
  readonly isFolder: boolean;
}

/** Keys that begin with `prefix` and are greater than `after`. Hidden names are no objects. */
export async function* walkKeys(options: {
  readonly root: string;
  readonly prefix: string;
  readonly after: string;
}): AsyncGenerator<string, void, void> {
  const folder = options.prefix.slice(0, options.prefix.lastIndexOf("/") + 1);
  yield* walkFolder(folder, options);
}

async function* walkFolder(
  folder: string,
  options: { readonly root: string; readonly prefix: string; readonly after: string },
): AsyncGenerator<string, void, void> {
  const { prefix, after } = options;
  for (const entry of await readFolder(join(options.root, folder))) {
    const key = folder + entry.name;
    if (!entry.isFolder) {
      if (key > after && key.startsWith(prefix)) yield key;
      continue;
    }
    // All keys inside begin with `key`: they are behind `after` unless it is behind them all.
    const mayHoldMore = key > after || after.startsWith(key);
    if (mayHoldMore && (key.startsWith(prefix) || prefix.startsWith(key))) {
      yield* walkFolder(key, options);
    }
  }
}

async function readFolder(path: string): Promise<readonly Entry[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.name.startsWith(".") && (entry.isFile() || entry.isDirectory()))
      .map((entry) => {
        const isFolder = entry.isDirectory();
        return { name: isFolder ? `${entry.name}/` : entry.name, isFolder };
      })
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    // A folder that is not there, or was deleted meanwhile, holds no objects.
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return [];
    throw error;
  }
}
