// What this node serves, as files: one per attached volume, so that a restarted engine takes them
// up again. Each is replaced whole (temporary name, sync, rename, sync of the folder): a crash
// leaves the old or the new.
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

import { WeirError } from "../../core/runtime/errors.ts";
import { asVolumeUid, isHex32, type VolumeUid } from "../../core/runtime/ids.ts";
import { volumePolicySchema } from "./config.ts";

const recordSchema = z.object({
  format: z.literal(1),
  uid: z.string().refine(isHex32).transform(asVolumeUid),
  name: z.string(),
  policy: volumePolicySchema,
  /** The start of the machine that knows deviceId. */
  bootId: z.string().default(""),
  transport: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("nbd"), socketPath: z.string() }),
    /** deviceId null: there was no device yet. */
    z.object({
      kind: z.literal("ublk"),
      depth: z.number().int(),
      deviceId: z.number().int().nullable(),
    }),
  ]),
});
export type AttachRecord = z.infer<typeof recordSchema>;

export class AttachRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async list(): Promise<AttachRecord[]> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const names = (await readdir(this.#directory))
      .filter((name) => name.endsWith(".json"))
      .toSorted();
    return Promise.all(names.map((name) => this.#read(join(this.#directory, name))));
  }

  async write(record: AttachRecord): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const path = join(this.#directory, `${record.uid}.json`);
    const temporary = `${path}.new`;
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(record));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await this.#syncDirectory();
  }

  async remove(uid: VolumeUid): Promise<void> {
    await rm(join(this.#directory, `${uid}.json`), { force: true });
    await this.#syncDirectory();
  }

  async #read(path: string): Promise<AttachRecord> {
    const parsed = recordSchema.safeParse(parseJson(await readFile(path, "utf8")));
    if (parsed.success) return parsed.data;
    throw new WeirError(
      "journal-corrupt",
      "a local attach record cannot be read: remove the file and attach the volume again",
      {
        details: { path },
        cause: parsed.error,
      },
    );
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.#directory, "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Of a volume that could not be taken up: throws unless it is lost to this node, as another one
 * owns it by now, or it was deleted and nobody's requests wait here.
 */
export function refuseUnlessLost(
  { name, bootId, transport }: AttachRecord,
  now: { readonly fault: WeirError; readonly bootId: string },
): void {
  if (now.fault.code === "fenced") return;
  if (now.fault.code !== "not-found") throw now.fault;
  const hasDevice = transport.kind === "ublk" && transport.deviceId !== null;
  if (!hasDevice || bootId !== now.bootId) return;
  throw new WeirError(
    "in-use",
    "the volume was deleted, but its device still waits here: detach it with --force, and what " +
      "waits ends in errors",
    { details: { name } },
  );
}
