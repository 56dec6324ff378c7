// Goal: whatever is wrong with the command line, the store, the node's disk or the data, the user
// gets one clear sentence and a non-zero exit status (or EIO on the device), and nothing
// acknowledged is lost. Method: a table of mistakes on the command line; then real faults planted
// below real processes, mended again, and the data compared by SHA-256.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import S3rver from "s3rver";
import { describe, expect, onTestFinished, test } from "vitest";

import { captureLogs, expectLog } from "../support/log-capture.ts";
import { startVersitygw } from "../support/versitygw.ts";
import {
  hashDevice,
  makeImage,
  WeirNode,
  writeDevice,
  type CommandEnd,
  type WeirNodeOptions,
} from "../support/weir-node.ts";

const MIB = 1024 ** 2;
const VOLUME_BYTES = 24 * MIB;

function node(options: WeirNodeOptions = {}): WeirNode {
  const made = new WeirNode({ engineLog: captureLogs(), ...options });
  onTestFinished(() => made[Symbol.asyncDispose]());
  return made;
}

async function filled(on: WeirNode, ...serve: readonly string[]) {
  const file = join(on.folder, "image");
  const image = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 1 });
  await on.must("create", "data", "--size", String(VOLUME_BYTES));
  await on.serve(...serve);
  const uri = await on.attach("data");
  await writeDevice(uri, file);
  return { uri, image, file };
}

/** One sentence for people; with --json the same as one document. */
function expectFault(end: CommandEnd, exitCode: number, sentence: string): void {
  const [first = "", ...rest] = end.stderr.trim().split("\n");
  expect(first).toContain(`weir: ${sentence}`);
  // Only a wrong command line has a second line: where the help is.
  expect(rest).toHaveLength(exitCode === 2 ? 1 : 0);
  expect(end.exitCode).toBe(exitCode);
}

/** All objects of a directory store below a folder of the volume. */
function objects(on: WeirNode, kind: "log" | "checkpoints"): readonly string[] {
  return readdirSync(on.storeFolder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes(`/${kind}`))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

function journalFiles(on: WeirNode): readonly string[] {
  const folder = join(on.stateDirectory, "journals");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".jnl"))
    .map((name) => join(folder, name))
    .toSorted();
}

/** One that holds data; a SEAL is smaller. */
function firstSegment(on: WeirNode): string {
  return objects(on, "log").find((file) => statSync(file).size > 4096) ?? "";
}

/** Damages one byte and gives what puts it right again. */
function flipByte(file: string, offset: number): () => void {
  const bytes = readFileSync(file);
  const damaged = Buffer.from(bytes);
  const at = offset < 0 ? damaged.length + offset : offset;
  damaged[at] = (damaged[at] ?? 0) ^ 0x40;
  replace(file, damaged);
  return () => replace(file, bytes);
}

/** Objects are read-only files. */
function replace(file: string, bytes: Uint8Array): void {
  rmSync(file);
  writeFileSync(file, bytes);
}

/** A file system in memory of its own. */
function smallDisk(sizeBytes: number): string {
  const folder = join(tmpdir(), `weir-disk-${process.pid}-${sizeBytes}`);
  mkdirSync(folder, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", folder]);
  onTestFinished(() => {
    execFileSync("umount", ["--lazy", folder]);
    rmSync(folder, { recursive: true });
  });
  return folder;
}

describe("a wrong command line", () => {
  test.each([
    [2, ["create", "data", "--size", "0"], "--size must be 1 MiB at least and 64 TiB at most"],
    [2, ["create", "data", "--size", "1048577"], "--size must be a multiple of 4096 bytes"],
    [2, ["create", "data", "--size", "65T"], "--size must be 1 MiB at least and 64 TiB at most"],
    [2, ["create", "data", "--size", "huge"], "--size must be a whole number of bytes"],
    [2, ["create", "data"], "the volume's size is missing"],
    [2, ["attach", "data", "--transport", "iscsi"], "--transport must be nbd or ublk"],
    [2, ["attach", "data", "--durability", "best"], "--durability must be local or s3"],
    [2, ["attach", "data", "--max-dirty-age", "5"], "--max-dirty-age must be a time with its unit"],
    [2, ["attach", "data", "--socket", "x"], "--socket must be an absolute path"],
    [2, ["serve", "--cache-ram", "-1"], "--cache-ram needs a value"],
    [2, ["list", "--store", "/somewhere"], "--store must be a URL such as file:///somewhere"],
    [1, ["create", "Data", "--size", "1G"], "the name must have 1 to 253 characters of a-z"],
    [
      1,
      ["serve", "--journal-size", "4K"],
      'the engine\'s configuration "journalBytes" is not valid',
    ],
    [1, ["serve", "--config", "/nowhere.json"], "the configuration file cannot be read"],
    [1, ["inspect", "nobody"], "there is no volume of that name in this store"],
    [1, ["delete", "nobody"], "there is no volume of that name in this store"],
    [1, ["snapshot", "nobody", "monday"], "there is no volume of that name in this store"],
    [1, ["clone", "nothing", "copy"], "there is no snapshot of that name in this store"],
    [1, ["snapshot-delete", "nothing"], "there is no snapshot of that name in this store"],
    [1, ["attach", "data"], "no engine is running on this node: start one with `weir serve"],
    [1, ["detach", "data"], "no engine is running on this node: start one with `weir serve"],
    [1, ["list", "--store", "file:///nowhere/at/all"], "the directory of the store does not exist"],
    [
      1,
      ["list", "--store", "gs://bucket"],
      "the store's URL must begin with s3://, file:// or memory:",
    ],
  ])("ends with %i: weir %j", async (exitCode, args, sentence) => {
    const one = node();
    expectFault(await one.weir(...args), exitCode, sentence);
    const asJson = await one.weir(...args, "--json");
    expect(JSON.parse(asJson.stdout).fault.message).toContain(sentence);
    expect(asJson.exitCode).toBe(exitCode);
  });

  test("a name that is taken, a smaller size, a second engine, a volume in use", async () => {
    const one = node();
    const { uri, image } = await filled(one);
    const size = ["--size", "1M"];
    expectFault(await one.weir("create", "data", ...size), 1, "another volume has this name");
    expectFault(await one.weir("grow", "data", ...size), 1, "a volume can only grow");
    expectFault(await one.weir("detach", "other"), 1, "the volume is not attached here");
    expectFault(await one.weir("attach", "other"), 1, "there is no volume of that name");
    expectFault(
      await one.weir("delete", "data"),
      1,
      "the volume is attached: run `weir detach data`",
    );
    expectFault(
      await one.weir("serve"),
      1,
      "another engine serves here: take over from it with --take-over, stop it first",
    );
    const elsewhere = ["--run", join(one.folder, "run2")];
    expectFault(
      await one.weir("grow", "data", "--size", "1G", ...elsewhere),
      1,
      "another engine works in this state directory",
    );
    await one.must("snapshot", "data", "monday");
    const again = await one.weir("snapshot", "data", "monday");
    expectFault(again, 1, "another snapshot has this name");
    await one.must("clone", "monday", "copy");
    expectFault(await one.weir("snapshot-delete", "monday"), 1, "clones of the snapshot");
    expectFault(
      await one.weir("clone", "monday", "copy2", ...size),
      1,
      "a clone cannot be smaller",
    );
    expect(await hashDevice(uri)).toBe(image);
  });
});

describe("a wrong store", () => {
  test("another bucket, wrong credentials, no credentials, no server", async () => {
    const server = await startVersitygw();
    onTestFinished(() => server[Symbol.asyncDispose]());
    const env = {
      AWS_ACCESS_KEY_ID: server.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
    };
    const storeUrl = server.storeUrl("p");
    const wrongBucket = node({ storeUrl: storeUrl.replace("s3://weir/", "s3://other/"), env });
    expectFault(await wrongBucket.weir("probe"), 1, "the bucket does not exist");
    const wrongSecret = node({ storeUrl, env: { ...env, AWS_SECRET_ACCESS_KEY: "not-the-one" } });
    const denied = await wrongSecret.weir("create", "data", "--size", "1G");
    expectFault(denied, 1, "the bucket refuses Weir's credentials");
    expect(denied.stderr).not.toContain("not-the-one");
    await expect(wrongSecret.serve()).rejects.toThrow("the bucket refuses Weir's credentials");
    // Nothing of this machine's own may be found instead.
    const nobody = { HOME: wrongSecret.folder, AWS_EC2_METADATA_DISABLED: "true" };
    const noCredentials = node({
      storeUrl,
      env: { ...nobody, AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "" },
    });
    expectFault(await noCredentials.weir("list"), 1, "there are no S3 credentials");
    await server.kill();
    const silent = node({ storeUrl, env });
    expectFault(await silent.weir("probe"), 1, "nothing answers at the S3 endpoint");
  });

  test("one that overwrites in spite of If-None-Match is refused before it is used", async () => {
    const directory = join(node().folder, "s3rver");
    mkdirSync(directory);
    const server = new S3rver({
      ...{ address: "127.0.0.1", port: 0, directory, silent: true },
      configureBuckets: [{ name: "weir" }],
    });
    const { port } = await server.run();
    onTestFinished(() => server.close());
    const unsafe = node({
      storeUrl: `s3://weir/p?endpoint=http://127.0.0.1:${port}&region=us-east-1`,
      env: { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" },
    });
    const sentence = "the object store must not be used: it ignores If-None-Match";
    const probed = await unsafe.weir("probe");
    expectFault(probed, 1, sentence);
    expect(probed.stdout).toMatch(/^create-present +failed$/mu);
    expectFault(await unsafe.weir("create", "data", "--size", "1G"), 1, sentence);
    await expect(unsafe.serve()).rejects.toThrow(sentence);
    expect(JSON.parse(await unsafe.must("list", "--json"))).toStrictEqual([]);
  });
});

describe("damaged objects", () => {
  test("a frame: EIO on what needs it, the rest is served, until it is mended", async () => {
    expectLog(/a frame did not verify/u);
    expectLog(/a segment in the bucket is damaged/u);
    const one = node();
    const { image } = await filled(one);
    await one.must("create", "sound", "--size", "1M");
    await one.must("detach", "data");
    await one.stop();
    one.loseState();
    const segment = firstSegment(one);
    const mend = flipByte(segment, -1);
    await one.serve();
    const uri = await one.attach("data");
    await expect(hashDevice(uri)).rejects.toThrow("nbdcopy could not read");
    const status = await one.must("status");
    expect(status).toContain("trouble: a segment in the bucket is damaged");
    expect(await hashDevice(await one.attach("sound"))).toMatch(/^[0-9a-f]{64}$/u);
    mend();
    expect(await hashDevice(uri)).toBe(image);
  });

  test("a segment's table: the volume is not attached, and is when it is mended", async () => {
    const one = node();
    const { image } = await filled(one);
    // Killed, so that no checkpoint stands at the end of the log and the table has to be read.
    await one.must("detach", "data");
    const [checkpoint = ""] = objects(one, "checkpoints");
    await one.stop();
    one.loseState();
    rmSync(checkpoint);
    const segment = firstSegment(one);
    const mend = flipByte(segment, 140);
    await one.serve();
    expectFault(await one.weir("attach", "data"), 1, "the object cannot be used");
    expect(await one.must("list")).toContain("damaged: the object cannot be used");
    mend();
    expect(await hashDevice(await one.attach("data"))).toBe(image);
  });

  test("a truncated checkpoint: the volume is not attached, and is when it is mended", async () => {
    const one = node();
    const { image } = await filled(one);
    await one.must("detach", "data");
    await one.stop();
    one.loseState();
    const [checkpoint = ""] = objects(one, "checkpoints");
    const bytes = readFileSync(checkpoint);
    replace(checkpoint, bytes.subarray(0, 140));
    await one.serve();
    expectFault(await one.weir("attach", "data"), 1, "the object cannot be used");
    replace(checkpoint, bytes);
    expect(await hashDevice(await one.attach("data"))).toBe(image);
  });
});

describe("this node's disk", () => {
  test("a damaged journal: never served, and taken up when it is mended", async () => {
    const one = node();
    await one.must("create", "data", "--size", String(VOLUME_BYTES));
    await one.serve();
    const uri = await one.attach("data", "--max-dirty-age", "1h");
    const file = join(one.folder, "image");
    // Less than a segment, so that it lies in the journal alone; the second round proves that the
    // first one was durable, so the damage cannot be taken for a torn end.
    await makeImage({ file, sizeBytes: 3 * MIB, seed: 8 });
    await writeDevice(uri, file);
    await writeDevice(uri, file);
    const image = await hashDevice(uri);
    await one.stop("SIGKILL");
    const [journal = ""] = journalFiles(one);
    const mend = flipByte(journal, 300_000);
    const damaged = /the journal is damaged in front of records that were durable/u;
    expectLog(damaged);
    expect(await one.serve()).toMatch(/volumes=0 .*failed=data/u);
    expectFault(await one.weir("attach", "data"), 1, "the journal is damaged");
    await one.stop();
    mend();
    expect(await one.serve()).toContain("volumes=1");
    expect(await hashDevice(uri)).toBe(image);
  });

  test("in memory: refused for class local, taken for class s3", async () => {
    const state = smallDisk(512 * MIB);
    const one = node({ stateDirectory: join(state, "state") });
    await one.must("create", "data", "--size", String(VOLUME_BYTES));
    await one.serve("--journal-size", "128M", "--cache-disk", "0");
    expectFault(await one.weir("attach", "data"), 1, "the state directory is in memory");
    const uri = await one.attach("data", "--durability", "s3");
    const file = join(one.folder, "image");
    const image = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 9 });
    await writeDevice(uri, file);
    // What was flushed is in the store: the node may burn.
    await one.stop("SIGKILL");
    one.loseState();
    await one.serve("--journal-size", "128M", "--cache-disk", "0");
    expect(await hashDevice(await one.attach("data", "--durability", "s3"))).toBe(image);
    await one.stop();
  });

  test("full: writes wait and the status says why; with room again nothing is lost", async () => {
    const disk = smallDisk(16 * MIB);
    const one = node({ stateDirectory: join(disk, "state") });
    await one.must("create", "data", "--size", String(VOLUME_BYTES));
    await one.serve("--cache-disk", "0");
    const uri = await one.attach("data", "--durability", "s3");
    const file = join(one.folder, "image");
    const image = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 10 });
    const writing = writeDevice(uri, file);
    await expect
      .poll(() => one.must("status"), { timeout: 30_000 })
      .toMatch(/writes wait for the store, or for room on the journal's disk/u);
    execFileSync("mount", ["-o", `remount,size=${512 * MIB}`, disk]);
    await writing;
    expect(await hashDevice(uri)).toBe(image);
    await one.must("detach", "data");
    await one.stop();
  });

  test("without ublk: a sentence that says what is missing, and NBD still works", async () => {
    const one = node();
    const { uri, image } = await filled(one);
    await one.must("create", "other", "--size", "1M");
    expectFault(
      await one.weir("attach", "other", "--transport", "ublk"),
      1,
      "cannot open /dev/ublk-control: load the ublk_drv kernel module",
    );
    expect(await hashDevice(await one.attach("other"))).toMatch(/^[0-9a-f]{64}$/u);
    expect(await hashDevice(uri)).toBe(image);
  });
});
