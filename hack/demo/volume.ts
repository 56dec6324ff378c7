// The story of one volume on this machine, told with the real `weir` command over NBD. The bucket
// is a directory, the data a real ext4 file system. Every step verifies what it claims. Nothing is
// left behind.
import { join } from "node:path";
import {
  deviceBytes,
  hashDevice,
  hashFile,
  makeImage,
  readDevice,
  WeirNode,
  writeDevice,
} from "../../test/support/weir-node.ts";
import { buildNative } from "../native-build.ts";
import { ensurePackages } from "../packages.ts";
import { checkout } from "../places.ts";
import { outputOf } from "../program.ts";
import { bucketObjects, showBucket } from "./bucket.ts";
import { mustEqual, Story } from "./story.ts";

const MIB = 1024 ** 2;
const VOLUME_BYTES = 64 * MIB;

const story = new Story();

/** Shows each command before it runs, as a user would type it. */
function weir(node: WeirNode, ...args: readonly string[]): Promise<string> {
  console.log(`   $ weir ${args.join(" ")}`);
  return node.must(...args);
}

async function serve(node: WeirNode): Promise<string> {
  console.log("   $ weir serve &");
  return node.serve();
}

/** A file system with this checkout's own sources in it. */
async function makeFileSystem(node: WeirNode) {
  const file = join(node.folder, "ext4");
  const size = `${VOLUME_BYTES / MIB}M`;
  await outputOf(["mke2fs", "-q", "-t", "ext4", "-d", join(checkout, "core"), file, size]);
  return { file, hash: await hashFile(file) };
}

async function tellStory(node: WeirNode): Promise<void> {
  const { uri, original } = await begin(node);
  await snapshotAndClone(node, { uri, original });
  const early = bucketObjects(node.storeFolder);
  await crash(node, uri);
  await loseNode(node, original);
  await grow(node);
  await story.step("Look at what lies in the bucket", async () => {
    for (const name of ["data", "copy"]) await weir(node, "detach", name);
    await node.stop();
    const now = bucketObjects(node.storeFolder);
    for (const [path, state] of early) mustEqual(now.get(path) ?? "gone", state, path);
    showBucket(node.storeFolder, now.keys());
    return { found: `${now.size} objects; of the first ${early.size} none was changed since` };
  });
}

async function begin(node: WeirNode): Promise<{ uri: string; original: string }> {
  await story.step("Check the store and create a volume", async () => {
    const steps = (await weir(node, "probe")).split("\n");
    await weir(node, "create", "data", "--size", `${VOLUME_BYTES / MIB}MiB`);
    return { found: `${steps.length} checks of the store passed` };
  });
  const { uri } = await story.step("Start the engine and attach the volume over NBD", async () => {
    await serve(node);
    const attached = await weir(node, "attach", "data");
    mustEqual(await deviceBytes(attached), VOLUME_BYTES, "the device's size");
    return { uri: attached, found: attached };
  });
  const { original } = await story.step("Write an ext4 file system and read it back", async () => {
    const { file, hash } = await makeFileSystem(node);
    await writeDevice(uri, file);
    mustEqual(await hashDevice(uri), hash, "SHA-256 of the device");
    return { original: hash, found: `SHA-256 ${hash.slice(0, 16)}... on both sides` };
  });
  return { uri, original };
}

async function snapshotAndClone(
  node: WeirNode,
  volume: { readonly uri: string; readonly original: string },
): Promise<void> {
  await story.step("Take a snapshot and destroy the volume's contents", async () => {
    await weir(node, "snapshot", "data", "monday");
    const noise = join(node.folder, "noise");
    const hash = await makeImage({ file: noise, sizeBytes: VOLUME_BYTES, seed: 1 });
    await writeDevice(volume.uri, noise);
    mustEqual(await hashDevice(volume.uri), hash, "SHA-256 of the overwritten device");
    return { found: "the volume holds other bytes now" };
  });
  await story.step("Clone the snapshot: the file system is there", async () => {
    await weir(node, "clone", "monday", "copy");
    const copy = await weir(node, "attach", "copy");
    mustEqual(await hashDevice(copy), volume.original, "SHA-256 of the clone");
    const back = join(node.folder, "back");
    await readDevice(copy, back);
    await outputOf(["e2fsck", "-fn", back]);
    return { found: "the same SHA-256, and e2fsck finds no fault" };
  });
}

async function crash(node: WeirNode, uri: string): Promise<void> {
  await story.step("Kill the engine with SIGKILL right after a flush", async () => {
    const file = join(node.folder, "late");
    await makeImage({ file, sizeBytes: 2 * MIB, seed: 2 });
    await writeDevice(uri, file);
    const before = await hashDevice(uri);
    console.log(`   $ kill -9 ${node.enginePid ?? ""}`);
    await node.stop("SIGKILL");
    const ready = await serve(node);
    mustEqual(/volumes=\d+/u.exec(ready)?.[0] ?? "", "volumes=2", "what is served again");
    mustEqual(await hashDevice(uri), before, "SHA-256 after the crash");
    return { found: "both volumes were taken up again, nothing flushed was lost" };
  });
}

async function loseNode(node: WeirNode, original: string): Promise<void> {
  await story.step("Lose the node and all its disks, and attach elsewhere", async () => {
    await weir(node, "detach", "data");
    const uri = await weir(node, "attach", "data", "--durability", "s3");
    const file = join(node.folder, "last");
    await makeImage({ file, sizeBytes: 2 * MIB, seed: 3 });
    await writeDevice(uri, file);
    const before = await hashDevice(uri);
    console.log(`   $ kill -9 ${node.enginePid ?? ""}; rm -r the state directory`);
    await node.stop("SIGKILL");
    node.loseState();
    await serve(node);
    mustEqual(await hashDevice(await weir(node, "attach", "data")), before, "SHA-256 of data");
    mustEqual(await hashDevice(await weir(node, "attach", "copy")), original, "SHA-256 of copy");
    return { found: "class s3: every flush was in the bucket already" };
  });
}

async function grow(node: WeirNode): Promise<void> {
  await story.step("Grow the volume while it is attached", async () => {
    await weir(node, "grow", "data", "--size", `${(2 * VOLUME_BYTES) / MIB}MiB`);
    const uri = await weir(node, "attach", "data");
    mustEqual(await deviceBytes(uri), 2 * VOLUME_BYTES, "the device's size");
    return { found: `${(2 * VOLUME_BYTES) / MIB} MiB on the device` };
  });
}

/** WEIR_ADDON names an engine that was built elsewhere. */
async function build(): Promise<{ found: string }> {
  await ensurePackages(["build", "disk"]);
  const given = process.env["WEIR_ADDON"];
  if (given !== undefined) return { found: `WEIR_ADDON=${given}` };
  if (!(await buildNative("release", "inherit"))) throw new Error("the build failed");
  return { found: "native/build/release/weir.node" };
}

export async function tellVolumeStory(): Promise<number> {
  await using node = new WeirNode();
  return await story.tell(async () => {
    try {
      await story.step("Build the engine", build);
      await tellStory(node);
    } catch (cause) {
      if (node.engineStderr !== "") console.error(node.engineStderr);
      throw cause;
    }
  });
}
