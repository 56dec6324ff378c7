// Goal: the directory store keeps the port's promise, leaves no rubbish, and what it calls durable
// is. Method: the common contract suite; then looks into the directory behind the store's back, and
// plants there what writers leave that die half-way.

import { link, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { realClock, realRandom } from "../runtime/real-ports.ts";
import { DirectoryStore } from "./directory-store.ts";
import { describeStoreContract } from "./store-contract.ts";

const scratch = await mkdtemp(join(tmpdir(), "weir-directory-store-"));
afterAll(() => rm(scratch, { recursive: true }));
let rootCount = 0;

async function freshRoot(): Promise<string> {
  rootCount += 1;
  const root = join(scratch, String(rootCount));
  await mkdir(root);
  return root;
}

const storeAt = (root: string): DirectoryStore =>
  new DirectoryStore({ root, clock: realClock, random: realRandom });

describeStoreContract("directory", async () => storeAt(await freshRoot()));

const body = new Uint8Array([1, 2, 3]);

describe("the directory store", () => {
  test("leaves no temporary file behind, and no empty folder after deletes", async () => {
    const root = await freshRoot();
    const store = storeAt(root);
    await Promise.all(Array.from({ length: 8 }, () => store.create("a/b/c", body)));
    expect(await readdir(join(root, "a/b"))).toEqual(["c"]);
    await store.delete("a/b/c");
    expect(await readdir(root)).toEqual([]);
  });

  test("creates race with deletes that remove their folder, and still land", async () => {
    const store = storeAt(await freshRoot());
    for (let round = 0; round < 20; round += 1) {
      await store.create("x/y/old", body);
      const [, outcome] = await Promise.all([
        store.delete("x/y/old"),
        store.create("x/y/new", body),
      ]);
      expect(outcome).toEqual({ kind: "created" });
      await store.delete("x/y/new");
    }
  });

  test("what a writer leaves that died before the link is not seen, and is swept", async () => {
    const root = await freshRoot();
    await mkdir(join(root, "log"));
    await writeFile(join(root, "log/.new-dead"), body);
    await writeFile(join(root, "log/.new-alive"), body);
    await utimes(join(root, "log/.new-dead"), 1000, 1000);
    const store = storeAt(root);
    expect(await store.list("")).toEqual({ objects: [] });
    expect(await store.create("log/1", body)).toEqual({ kind: "created" });
    expect((await readdir(join(root, "log"))).toSorted()).toEqual([".new-alive", "1"]);
  });

  test("a writer that died after the link leaves an object that others see", async () => {
    const root = await freshRoot();
    await mkdir(join(root, "log"));
    await writeFile(join(root, "log/.new-dead"), body);
    await link(join(root, "log/.new-dead"), join(root, "log/1"));
    const store = storeAt(root);
    expect(await store.create("log/1", new Uint8Array(9))).toEqual({ kind: "exists" });
    expect(await store.get("log/1")).toEqual({ kind: "found", bytes: body, objectBytes: 3 });
    expect((await store.list("log/")).objects.map((object) => object.key)).toEqual(["log/1"]);
  });

  test("a root that is not there is a missing store, never an empty one", async () => {
    const store = storeAt(join(scratch, "absent"));
    const missing = { code: "store-missing" };
    await expect(store.create("a/b", body)).rejects.toMatchObject(missing);
    await expect(store.get("a/b")).rejects.toMatchObject(missing);
    await expect(store.list("")).rejects.toMatchObject(missing);
    await expect(store.delete("a/b")).rejects.toMatchObject(missing);
  });

  test("a key cannot be an object and a folder", async () => {
    const store = storeAt(await freshRoot());
    await store.create("a", body);
    await store.create("b/c", body);
    await expect(store.create("a/b", body)).rejects.toMatchObject({ code: "internal" });
    await expect(store.create("b", body)).rejects.toMatchObject({ code: "internal" });
  });
});
