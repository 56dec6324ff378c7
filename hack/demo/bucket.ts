// What lies in a bucket that is a folder, as the directory store and versitygw keep it: each object
// a file. So the demo looks at it without asking Weir.
import { readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";

/** Every object with what would change if it were written again. */
export function bucketObjects(folder: string): ReadonlyMap<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
  return new Map(
    files.map((file) => {
      const { ino, size, mtimeMs } = statSync(file);
      return [relative(folder, file), `inode ${ino}, ${size} bytes, written ${mtimeMs}`];
    }),
  );
}

/** Objects and bytes of each kind. */
export function showBucket(folder: string, paths: Iterable<string>): void {
  const kinds = new Map<string, { count: number; bytes: number }>();
  for (const path of paths) {
    const kind = /(?:^|\/)(log|checkpoints|epochs|snapshots|names)\//u.exec(path)?.[1];
    const name = kind ?? "volume.json";
    const seen = kinds.get(name) ?? { count: 0, bytes: 0 };
    const bytes = seen.bytes + statSync(join(folder, path)).size;
    kinds.set(name, { count: seen.count + 1, bytes });
  }
  for (const [kind, { count, bytes }] of kinds) {
    const size = `${(bytes / 1024).toFixed(1)} KiB`;
    console.log(`   ${kind.padEnd(12)} ${String(count).padStart(4)} objects ${size.padStart(14)}`);
  }
}
