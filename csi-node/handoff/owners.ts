// Who serves on this node, as files: `<run>/owners/<generation>`, each created once and never
// changed. Whoever creates a generation owns all volumes of the node until the next one exists; of
// two that try, the file system lets one win. So a predecessor that takes its devices back and a
// successor that takes them over can never both believe it.
//
// The run directory is in memory: it ends with the machine, and so does every owner, which is why
// nothing here is synced. Crash: a file whose process is gone; the next start takes the next
// number. The native window creates the same files (handoff-port.ts).
import { link, mkdir, readdir, readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const identitySchema = z.object({
  pid: z.int().min(1),
  /** Clock ticks since the machine's start: tells a process from a later one of the same number. */
  startTicks: z.string(),
  build: z.string(),
});
export type OwnerIdentity = z.infer<typeof identitySchema>;

/** Of this process; `pid` for a test's. */
export async function ownIdentity(options: {
  readonly pid: number;
  readonly build: string;
}): Promise<OwnerIdentity> {
  const { pid, build } = options;
  return { pid, build, startTicks: (await startTicksOf(pid)) ?? "" };
}

/** Within one pid namespace; a process of another one counts as gone, its journals' locks hold. */
async function isRunning({ pid, startTicks }: OwnerIdentity): Promise<boolean> {
  const found = await startTicksOf(pid);
  return found !== undefined && found === startTicks;
}

export class Owners {
  readonly directory: string;
  /** What the files of this process say. */
  readonly identity: OwnerIdentity;
  readonly #isRunning: (owner: OwnerIdentity) => Promise<boolean>;

  constructor(options: {
    readonly directory: string;
    readonly identity: OwnerIdentity;
    /** A test's processes are its own to know. */
    readonly isRunning?: (owner: OwnerIdentity) => Promise<boolean>;
  }) {
    this.directory = options.directory;
    this.identity = options.identity;
    this.#isRunning = options.isRunning ?? isRunning;
  }

  /** The present owner, if it is another process and lives. */
  async living(): Promise<OwnerIdentity | undefined> {
    const owner = await this.owner(await this.newest());
    if (owner === undefined || owner.pid === this.identity.pid) return undefined;
    return (await this.#isRunning(owner)) ? owner : undefined;
  }

  /** The number of the present owner; 0 when there never was one. */
  async newest(): Promise<number> {
    return Math.max(0, ...(await this.#generations()));
  }

  /** undefined: nobody, or nobody that can be told. */
  async owner(generation: number): Promise<OwnerIdentity | undefined> {
    const path = join(this.directory, String(generation));
    const text = await readFile(path, "utf8").catch(() => "");
    return identitySchema.safeParse(parseJson(text)).data;
  }

  /** Whether this call created the generation. */
  async claim(generation: number): Promise<boolean> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const hidden = join(this.directory, `.${this.identity.pid}-${generation}`);
    // A link appears with its content or not at all.
    await writeFile(hidden, JSON.stringify(this.identity), { mode: 0o600 });
    try {
      await link(hidden, join(this.directory, String(generation)));
      return true;
    } catch (cause) {
      if (cause instanceof Error && "code" in cause && cause.code === "EEXIST") return false;
      throw cause;
    } finally {
      await unlink(hidden);
    }
  }

  /**
   * For a process that starts with nobody serving: its generation. Older files go; the newest stays
   * as proof for whoever comes back.
   */
  async claimCold(): Promise<number> {
    for (;;) {
      const newest = await this.newest();
      if (!(await this.claim(newest + 1))) continue;
      const past = (await this.#generations()).filter((generation) => generation < newest);
      for (const generation of past) {
        // Another cold start may have removed it.
        await unlink(join(this.directory, String(generation))).catch(() => undefined);
      }
      return newest + 1;
    }
  }

  async #generations(): Promise<number[]> {
    const names = await readdir(this.directory).catch(() => []);
    return names.filter((name) => /^[1-9][0-9]*$/u.test(name)).map(Number);
  }
}

/** Field 22 of stat(5); the name before it may hold anything, a closing bracket ends it. */
async function startTicksOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
