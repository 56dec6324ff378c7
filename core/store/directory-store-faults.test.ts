// Goal: the directory store is right at every step at which a disk can fail or a machine can stop.
// Method: every call to the file system goes through a recorder that can make the n-th one fail; n
// runs from the first call to the last. The order of calls is checked too, because only it tells
// what a power cut leaves.

import type * as FileSystem from "node:fs/promises";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { realClock, realRandom } from "../runtime/real-ports.ts";
import { DirectoryStore } from "./directory-store.ts";

interface Disk {
  calls: string[];
  /** Which call fails, from 1; 0 for none. */
  failAt: number;
  errno: string;
}

const disk = vi.hoisted((): Disk => ({ calls: [], failAt: 0, errno: "EIO" }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const real = await importOriginal<typeof FileSystem>();
  /** Writes the call down, and fails it when it is its turn, before it has any effect. */
  const step = (name: string, path: unknown): void => {
    const shown = basename(String(path)).replace(/^\.new-.*/u, "temporary");
    disk.calls.push(`${name} ${shown}`);
    if (disk.calls.length !== disk.failAt) return;
    throw Object.assign(new Error("planted"), { code: disk.errno, syscall: name });
  };
  return {
    ...real,
    link: async (from: string, to: string) => {
      step("link", to);
      await real.link(from, to);
    },
    mkdir: async (path: string) => {
      step("mkdir", path);
      await real.mkdir(path);
    },
    unlink: async (path: string) => {
      step("unlink", path);
      await real.unlink(path);
    },
    open: async (path: string, flags: string, mode?: number) => {
      step("open", path);
      const handle = await real.open(path, flags, mode);
      const sync = handle.sync.bind(handle);
      const writeFile = handle.writeFile.bind(handle);
      handle.sync = async () => {
        step("sync", path);
        await sync();
      };
      handle.writeFile = async (data) => {
        step("write", path);
        await writeFile(data);
      };
      return handle;
    },
  };
});

const scratch = mkdtempSync(join(tmpdir(), "weir-directory-faults-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const real = await vi.importActual<typeof FileSystem>("node:fs/promises");
let rootCount = 0;
let root = "";

beforeEach(() => freshRoot());

async function freshRoot(): Promise<void> {
  disk.failAt = 0;
  rootCount += 1;
  root = join(scratch, String(rootCount));
  await real.mkdir(root);
}

const openStore = (): DirectoryStore =>
  new DirectoryStore({ root, clock: realClock, random: realRandom });

const body = new Uint8Array([1, 2, 3]);

/** The calls that matter for durability, made by `work`. */
async function effects(work: () => Promise<unknown>): Promise<string[]> {
  disk.calls = [];
  await work();
  return disk.calls.filter((call) => !call.startsWith("open "));
}

describe("the order of calls", () => {
  test("an object is synced, linked, synced in its folder, then loses its other name", async () => {
    const store = openStore();
    await store.create("log/1", body);
    expect(await effects(() => store.create("log/2", body))).toEqual([
      "write temporary",
      "sync temporary",
      "link 2",
      "sync log",
      "unlink temporary",
    ]);
  });

  test("a new folder is durable in its parent before anything is put into it", async () => {
    const store = openStore();
    const calls = await effects(() => store.create("a/b/1", body));
    const root = String(rootCount);
    expect(calls.slice(0, 5)).toEqual([
      "mkdir a",
      `sync ${root}`,
      "mkdir b",
      "sync a",
      "write temporary",
    ]);
  });

  test("a folder that another process made is synced all the same", async () => {
    await real.mkdir(join(root, "log"));
    const calls = await effects(() => openStore().create("log/1", body));
    expect(calls).toContain(`sync ${rootCount}`);
  });

  test("`exists` is answered only when the object is durable", async () => {
    await openStore().create("log/1", body);
    const store = openStore();
    expect(await effects(() => store.create("log/1", body))).toEqual(["sync log"]);
  });

  test("an object with a second name is read and listed only after a sync", async () => {
    const store = openStore();
    await store.create("log/1", body);
    expect(await effects(() => store.get("log/1"))).toEqual([]);
    await real.link(join(root, "log/1"), join(root, "log/.new-dead"));
    expect(await effects(() => store.get("log/1"))).toEqual(["sync log"]);
    expect(await effects(() => store.list("log/"))).toEqual(["sync log"]);
  });
});

/** Creates an object with the n-th call failing: how many calls there were, and what went wrong. */
async function createWithFault(n: number): Promise<{ calls: number; lie?: string }> {
  await freshRoot();
  disk.calls = [];
  disk.failAt = n;
  const outcome = await openStore()
    .create("log/1", body)
    .catch((error: unknown) => ({ kind: "fault", error }));
  const calls = disk.calls.length;
  disk.failAt = 0;
  const found = await openStore().get("log/1");
  const again = await openStore().create("log/1", body);
  const { objects } = await openStore().list("");
  const isWhole = found.kind === "absent" || Buffer.compare(found.bytes, body) === 0;
  const expected = {
    created: found.kind === "found",
    // A fault promises that nothing landed.
    fault: found.kind === "absent",
    ambiguous: true,
  }[outcome.kind];
  const isTrue =
    expected === true &&
    isWhole &&
    again.kind === (found.kind === "found" ? "exists" : "created") &&
    objects.map((object) => object.key).join() === "log/1";
  if (isTrue) return { calls };
  return { calls, lie: `call ${n}, ${disk.calls[n - 1]}: ${JSON.stringify({ outcome, found })}` };
}

describe("a failing disk", () => {
  test.each(["EIO", "ENOSPC", "EACCES", "EMFILE"])(
    "%s at any call leaves a whole object or none, and the answer is true",
    async (errno) => {
      disk.errno = errno;
      const lies: string[] = [];
      let calls = Infinity;
      for (let n = 1; n <= calls; n += 1) {
        const result = await createWithFault(n);
        // The run in which the fault came too late made every call there is.
        calls = n > result.calls ? result.calls : Infinity;
        if (result.lie !== undefined) lies.push(result.lie);
      }
      expect(lies).toEqual([]);
      // Fewer would mean that the recorder no longer sees the store's calls.
      expect(calls).toBeGreaterThanOrEqual(10);
    },
  );

  test.each([
    ["ENOSPC", "disk-full", "free some space"],
    ["EDQUOT", "disk-full", "quota"],
    ["EACCES", "store-denied", "permissions"],
    ["EROFS", "store-denied", "read-only"],
    ["EIO", "store-unavailable", "look at its disk"],
  ])("%s is %s, with a hint", async (errno, code, hint) => {
    const store = openStore();
    await store.create("log/0", body);
    disk.calls = [];
    disk.errno = errno;
    disk.failAt = 1;
    await expect(store.create("log/1", body)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(hint),
    });
  });

  test("a file system without hard links is unsafe", async () => {
    const store = openStore();
    await store.create("log/0", body);
    await effects(() => store.create("log/1", body));
    disk.failAt = disk.calls.indexOf("link 1") + 1;
    disk.calls = [];
    disk.errno = "EPERM";
    await expect(store.create("log/2", body)).rejects.toMatchObject({ code: "backend-unsafe" });
    expect(await real.readdir(join(root, "log"))).toEqual(["0", "1"]);
  });

  test("a link that worked although its answer was lost is a success", async () => {
    const store = openStore();
    await store.create("log/0", body);
    const link = vi.spyOn(await import("node:fs/promises"), "link");
    link.mockImplementationOnce(async (from, to) => {
      await real.link(from, to);
      throw Object.assign(new Error("planted"), { code: "EEXIST", syscall: "link" });
    });
    expect(await store.create("log/1", body)).toEqual({ kind: "created" });
  });
});
