// Files that are dear to make and kept in the cache under the hash of what they are made of; of
// each name only the latest stays.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cache } from "../places.ts";

const folder = join(cache, "images");
const KEY_LENGTH = 16;

export async function keepFile(file: {
  readonly name: string;
  /** Hexadecimal; other contents have another one. */
  readonly key: string;
  make(target: string): Promise<void>;
}): Promise<string> {
  const path = join(folder, `${file.name}-${file.key.slice(0, KEY_LENGTH)}`);
  if (existsSync(path)) return path;
  console.error(`making ${file.name}`);
  mkdirSync(folder, { recursive: true });
  const fresh = join(folder, `new-${process.pid}-${file.name}`);
  try {
    await file.make(fresh);
    for (const name of readdirSync(folder)) {
      if (name.slice(0, -KEY_LENGTH - 1) === file.name) rmSync(join(folder, name));
    }
    renameSync(fresh, path);
  } finally {
    rmSync(fresh, { force: true });
  }
  return path;
}
