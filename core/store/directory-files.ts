// File operations of the directory store that must survive a power cut at any step.
//
// An object becomes visible by link(2), which never replaces a name, and durable by the fsync of
// its folder right after. Its temporary name goes last. So a file with two links is visible but
// perhaps not durable yet (its writer is at work, or died there): a reader who finds one syncs the
// folder before it believes in it. A file with one link is durable.

import { link, mkdir, open, readdir, stat, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../runtime/ports.ts";
import { errnoOf } from "./directory-faults.ts";

const TEMPORARY_PREFIX = ".new-";
/** A temporary file this old has no writer any more: no request takes nearly as long. */
const TEMPORARY_AGE_MS_MAX = 3_600_000;

export type LinkOutcome = "linked" | "taken";

export const temporaryName = (unique: string): string => TEMPORARY_PREFIX + unique;

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the folder below `root` and every one between them, each durable; `root` must exist. */
export async function makeFolder(root: string, folder: string): Promise<void> {
  if (folder === root) return;
  const parent = dirname(folder);
  await makeFolder(root, parent);
  try {
    await mkdir(folder);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
  // Also when it was there: whoever made it may not have come to its own sync.
  await syncFolder(parent);
}

/** Writes a new file and makes its content durable; the name is not. The caller closes it. */
export async function writeDurably(path: string, body: Uint8Array): Promise<FileHandle> {
  const handle = await open(path, "wx", 0o640);
  try {
    await handle.writeFile(body);
    await handle.sync();
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Gives the open file its final name, unless that is taken. */
export async function linkOnce(file: FileHandle, from: string, to: string): Promise<LinkOutcome> {
  try {
    await link(from, to);
    return "linked";
  } catch (error) {
    // On a network file system the answer to a link that worked can be lost; the count tells.
    const { nlink } = await file.stat();
    if (nlink > 1) return "linked";
    if (errnoOf(error) === "EEXIST") return "taken";
    throw error;
  }
}

/** Removes a name; one that is gone already is fine. */
export async function removeName(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}

/** Removes the temporary files that writers left behind when they died. */
export async function sweepTemporaries(folder: string, clock: Clock): Promise<void> {
  const names = await readdir(folder);
  const stale: string[] = [];
  for (const name of names.filter((candidate) => candidate.startsWith(TEMPORARY_PREFIX))) {
    const path = join(folder, name);
    const modifiedAtMs = await modificationTime(path);
    if (modifiedAtMs !== undefined && clock.wallMs() - modifiedAtMs > TEMPORARY_AGE_MS_MAX) {
      stale.push(path);
    }
  }
  if (stale.length === 0) return;
  // The second name of a stale file may not be durable yet, see above.
  await syncFolder(folder);
  for (const path of stale) await removeName(path);
}

async function modificationTime(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
