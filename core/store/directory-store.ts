// The directory store (`file:///path`): the embedded default, and the same promises as a bucket.
// Several processes may use one directory, also over a network file system that has hard links.
// directory-files.ts says how it survives power cuts.

import type { Stats } from "node:fs";
import { type FileHandle, open, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { WeirError } from "../runtime/errors.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { abortable, checkAbort } from "../runtime/timer-signals.ts";
import {
  KEY_IS_BOTH,
  directoryFault,
  directoryMissing,
  errnoOf,
  linkIsRefused,
} from "./directory-faults.ts";
import {
  linkOnce,
  makeFolder,
  removeName,
  sweepTemporaries,
  syncFolder,
  temporaryName,
  writeDurably,
} from "./directory-files.ts";
import { walkKeys } from "./directory-walk.ts";
import type {
  ByteRange,
  CallOptions,
  CreateOutcome,
  GetOutcome,
  ListPage,
  ListedObject,
  ObjectStore,
} from "./object-store.ts";
import {
  LIST_OBJECTS_MAX,
  checkKey,
  checkLimit,
  checkPrefix,
  checkRange,
} from "./store-arguments.ts";

export interface DirectoryStoreOptions {
  /** An absolute path; the directory must exist. */
  readonly root: string;
  readonly clock: Clock;
  readonly random: Random;
  /** How long one call may take: a hung disk or mount must not hold its caller for ever. */
  readonly requestTimeoutMs?: number;
}

const REQUEST_TIMEOUT_MS = 60_000;
/** How often a create starts again because the janitor removed its empty folder under it. */
const FOLDER_RACES_MAX = 10;

/** How far a create has come: once `landing`, only its answer says what became of it. */
interface CreateProgress {
  landing: boolean;
}

export class DirectoryStore implements ObjectStore {
  readonly label: string;
  readonly #root: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #requestTimeoutMs: number;
  /** Folders that this process has made durable and swept. */
  readonly #ready = new Set<string>();

  constructor(options: DirectoryStoreOptions) {
    this.label = `file://${options.root}`;
    this.#root = options.root;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  }

  async create(key: string, body: Uint8Array, options: CallOptions = {}): Promise<CreateOutcome> {
    checkKey(key);
    checkAbort(options.signal);
    const path = join(this.#root, key);
    const progress: CreateProgress = { landing: false };
    using signal = this.#clock.deadline(this.#requestTimeoutMs, options.signal);
    try {
      return await abortable(this.#create(path, body, progress, signal), signal);
    } catch (error) {
      const fault = this.#faultOf(error, path, { signal, parent: options.signal });
      if (progress.landing) return { kind: "ambiguous", cause: fault };
      throw fault;
    }
  }

  async get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange } = {},
  ): Promise<GetOutcome> {
    checkKey(key);
    checkRange(options.range);
    const path = join(this.#root, key);
    return this.#bounded(path, options.signal, () => this.#get(path, options.range));
  }

  async list(
    prefix: string,
    options: CallOptions & { readonly after?: string; readonly limit?: number } = {},
  ): Promise<ListPage> {
    const { after = "", limit = LIST_OBJECTS_MAX } = options;
    checkPrefix(prefix);
    checkLimit(limit);
    const path = join(this.#root, prefix);
    return this.#bounded(path, options.signal, (signal) =>
      this.#list({ prefix, after, limit, signal }),
    );
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    checkKey(key);
    const path = join(this.#root, key);
    await this.#bounded(path, options.signal, () => this.#delete(path));
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #create(
    path: string,
    body: Uint8Array,
    progress: CreateProgress,
    signal: AbortSignal,
  ): Promise<CreateOutcome> {
    if (await objectExists(path)) {
      // The other writer may not have come to its own sync, and "exists" must last.
      await syncFolder(dirname(path));
      return { kind: "exists" };
    }
    const temporary = join(dirname(path), temporaryName(this.#random.hex32()));
    const file = await this.#writeTemporary(temporary, body);
    try {
      checkAbort(signal);
      progress.landing = true;
      const outcome = await linkOnce(file, temporary, path);
      await syncFolder(dirname(path));
      await removeName(temporary);
      return { kind: outcome === "linked" ? "created" : "exists" };
    } catch (error) {
      if (linkIsRefused(error)) progress.landing = false;
      // After a failed sync the temporary name stays: it tells readers that the object may not be
      // durable. Before the link nothing else knows of it.
      if (!progress.landing) await removeName(temporary);
      throw error;
    } finally {
      await file.close();
    }
  }

  /** Writes the body next to its final place, in a folder that is durable. */
  async #writeTemporary(temporary: string, body: Uint8Array): Promise<FileHandle> {
    const folder = dirname(temporary);
    for (let race = 0; ; race += 1) {
      try {
        await this.#prepareFolder(folder);
        return await writeDurably(temporary, body);
      } catch (error) {
        // A folder that was there a moment ago is gone: the janitor removes those that are empty.
        if (errnoOf(error) !== "ENOENT" || race === FOLDER_RACES_MAX) {
          await removeName(temporary);
          throw error;
        }
        await this.#checkRoot();
        this.#ready.delete(folder);
      }
    }
  }

  async #prepareFolder(folder: string): Promise<void> {
    if (this.#ready.has(folder)) return;
    await makeFolder(this.#root, folder);
    await sweepTemporaries(folder, this.#clock);
    this.#ready.add(folder);
  }

  async #get(path: string, range: ByteRange | undefined): Promise<GetOutcome> {
    const file = await this.#openObject(path);
    if (file === undefined) return { kind: "absent" };
    try {
      const { size, nlink } = await file.stat();
      if (nlink > 1) await syncFolder(dirname(path));
      const offset = Math.min(range?.offset ?? 0, size);
      const length = Math.min(range?.length ?? size, size - offset);
      return { kind: "found", bytes: await readAt(file, offset, length), objectBytes: size };
    } finally {
      await file.close();
    }
  }

  async #openObject(path: string): Promise<FileHandle | undefined> {
    try {
      const file = await open(path, "r");
      if ((await file.stat()).isFile()) return file;
      await file.close();
      return undefined;
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTDIR") throw error;
      await this.#checkRoot();
      return undefined;
    }
  }

  async #list(query: {
    prefix: string;
    after: string;
    limit: number;
    signal: AbortSignal;
  }): Promise<ListPage> {
    const objects: ListedObject[] = [];
    for await (const key of walkKeys({ root: this.#root, ...query })) {
      checkAbort(query.signal);
      const last = objects.at(-1);
      if (objects.length === query.limit && last !== undefined) return { objects, next: last.key };
      const path = join(this.#root, key);
      const stats = await statsOf(path);
      // It was deleted since its folder was read.
      if (stats === undefined) continue;
      if (stats.nlink > 1) await syncFolder(dirname(path));
      objects.push({ key, sizeBytes: stats.size, modifiedAtMs: Math.floor(stats.mtimeMs) });
    }
    if (objects.length === 0) await this.#checkRoot();
    return { objects };
  }

  async #delete(path: string): Promise<void> {
    await removeName(path);
    let folder = dirname(path);
    while (folder !== this.#root) {
      this.#ready.delete(folder);
      try {
        await rmdir(folder);
      } catch {
        // It still holds something, or is gone: either is fine.
        break;
      }
      folder = dirname(folder);
    }
    await this.#checkRoot();
  }

  /** An unmounted or removed root must not look like an empty store. */
  async #checkRoot(): Promise<void> {
    if ((await statsOf(this.#root)) === undefined) throw directoryMissing(this.#root);
  }

  async #bounded<T>(
    path: string,
    parent: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    checkAbort(parent);
    using signal = this.#clock.deadline(this.#requestTimeoutMs, parent);
    try {
      return await abortable(work(signal), signal);
    } catch (error) {
      throw this.#faultOf(error, path, { signal, parent });
    }
  }

  #faultOf(
    error: unknown,
    path: string,
    signals: { readonly signal: AbortSignal; readonly parent: AbortSignal | undefined },
  ): WeirError {
    const isOurTimeout = signals.signal.aborted && signals.parent?.aborted !== true;
    if (!isOurTimeout) return directoryFault(error, path);
    return new WeirError(
      "store-unavailable",
      "the directory store did not answer in time; look at its disk or mount",
      { details: { path, timeoutMs: this.#requestTimeoutMs }, cause: error },
    );
  }
}

async function objectExists(path: string): Promise<boolean> {
  const stats = await statsOf(path);
  if (stats === undefined || stats.isFile()) return stats !== undefined;
  throw new WeirError("internal", KEY_IS_BOTH, { details: { path } });
}

/** Undefined when nothing has this name. */
async function statsOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}
