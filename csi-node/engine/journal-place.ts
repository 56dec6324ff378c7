// Refuses a journal folder that cannot keep class `local`'s promise: memory is not durable.
import { mkdir, statfs } from "node:fs/promises";

import { WeirError } from "../../core/runtime/errors.ts";

// statfs(2) f_type values of file systems that live in memory.
const IN_MEMORY: Readonly<Record<number, string>> = { 0x01021994: "tmpfs", 0x858458f6: "ramfs" };

/** Class `s3` needs no durable journal: its flushes end in the bucket. */
export async function checkJournalPlace(options: {
  directory: string;
  durability: "local" | "s3";
}): Promise<void> {
  const { directory, durability } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (durability === "s3") return;
  const { type } = await statfs(directory);
  const kind = IN_MEMORY[type];
  if (kind === undefined) return;
  throw new WeirError(
    "journal-unsafe",
    "the state directory is in memory, so class `local` could not keep a flushed write: " +
      "choose a folder on a disk, or durability s3",
    { details: { directory, fileSystem: kind } },
  );
}
