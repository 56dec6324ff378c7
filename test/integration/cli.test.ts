// Goal: one volume's life through the `weir` command, as a user leads it, keeps every byte:
// attach, write, snapshot, clone, grow, detach, engine killed, node lost. Method: real processes,
// a directory store and once a real S3 server; data goes in and out through libnbd's tools and is
// compared by SHA-256.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";

import { captureLogs } from "../support/log-capture.ts";
import { startVersitygw } from "../support/versitygw.ts";
import {
  deviceBytes,
  hashDevice,
  makeImage,
  WeirNode,
  writeDevice,
  type WeirNodeOptions,
} from "../support/weir-node.ts";

const MIB = 1024 ** 2;
const VOLUME_BYTES = 24 * MIB;

function node(options: WeirNodeOptions = {}): WeirNode {
  const made = new WeirNode({ engineLog: captureLogs(), ...options });
  onTestFinished(() => made[Symbol.asyncDispose]());
  return made;
}

/** A volume `data` with an image on it, attached; the image fills it. */
async function filled(on: WeirNode): Promise<{ uri: string; image: string; file: string }> {
  const file = join(on.folder, "image");
  const image = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 1 });
  await on.must("create", "data", "--size", String(VOLUME_BYTES));
  await on.serve();
  const uri = await on.attach("data");
  await writeDevice(uri, file);
  return { uri, image, file };
}

describe.each(["a directory", "an S3 bucket"])("a volume's life in %s", (kind) => {
  async function place(): Promise<WeirNodeOptions> {
    if (kind === "a directory") return {};
    const server = await startVersitygw();
    onTestFinished(() => server[Symbol.asyncDispose]());
    return {
      storeUrl: server.storeUrl("life"),
      env: {
        AWS_ACCESS_KEY_ID: server.accessKeyId,
        AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
      },
    };
  }

  test("keeps every byte", async () => {
    const one = node(await place());
    const { uri, image } = await filled(one);
    expect(await hashDevice(uri)).toBe(image);

    // The snapshot stands still while the volume goes on; the clone begins as the snapshot.
    await one.must("snapshot", "data", "monday");
    const second = join(one.folder, "second");
    const changed = await makeImage({ file: second, sizeBytes: VOLUME_BYTES, seed: 2 });
    await writeDevice(uri, second);
    await one.must("clone", "monday", "copy");
    const copy = await one.attach("copy");
    expect(await hashDevice(copy)).toBe(image);
    expect(await hashDevice(uri)).toBe(changed);

    // What is written to the clone is not seen by the volume, nor by another clone.
    await writeDevice(copy, second);
    await one.must("clone", "monday", "another");
    expect(await hashDevice(await one.attach("another"))).toBe(image);

    await one.must("grow", "data", "--size", "32MiB");
    expect(await deviceBytes(uri)).toBe(32 * MIB);
    for (const name of ["data", "copy", "another"]) await one.must("detach", name);
    expect(readdirSync(join(one.stateDirectory, "journals"))).toStrictEqual([]);

    // Another node has nothing but the store.
    expect(await one.stop()).toBe(0);
    one.loseState();
    await one.serve();
    expect(await deviceBytes(await one.attach("data"))).toBe(32 * MIB);
    expect(await hashDevice(await one.attach("copy"))).toBe(changed);
    expect(await hashDevice(await one.attach("another"))).toBe(image);
    await one.must("clone", "monday", "late");
    expect(await hashDevice(await one.attach("late"))).toBe(image);
    for (const name of ["data", "copy", "another", "late"]) await one.must("detach", name);

    // Deletion goes in order, and leaves nothing.
    expect((await one.weir("delete", "data")).stderr).toContain(
      "the volume has snapshots: delete them first",
    );
    for (const name of ["copy", "another", "late"]) await one.must("delete", name);
    await one.must("snapshot-delete", "monday");
    await one.must("delete", "data");
    expect(JSON.parse(await one.must("list", "--json"))).toStrictEqual([]);
    expect(JSON.parse(await one.must("snapshots", "--json"))).toStrictEqual([]);
    expect(await one.stop()).toBe(0);
  });
});

describe("an engine that ends", () => {
  test("by SIGKILL loses nothing that was flushed, and its successor goes on", async () => {
    const one = node();
    await one.must("create", "data", "--size", String(VOLUME_BYTES));
    await one.serve();
    const uri = await one.attach("data", "--max-dirty-age", "1h");
    const file = join(one.folder, "image");
    const image = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 3 });
    await writeDevice(uri, file);
    // Whole segments' worth was uploaded; this stays in the journal alone.
    const rest = join(one.folder, "rest");
    await makeImage({ file: rest, sizeBytes: 2 * MIB, seed: 33 });
    await writeDevice(uri, rest);
    const before = await hashDevice(uri);
    expect(before).not.toBe(image);
    await one.stop("SIGKILL");
    expect(await one.serve()).toContain("volumes=1");
    expect(await hashDevice(uri)).toBe(before);
    const [volume] = JSON.parse(await one.must("status", "--json")).volumes;
    expect(volume.replayedRecords).toBeGreaterThan(0);
  });

  test("by SIGTERM keeps dirty data in its journal, with --drain in the store", async () => {
    const one = node();
    await one.must("create", "data", "--size", String(VOLUME_BYTES));
    const file = join(one.folder, "image");
    const image = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 4 });
    await one.serve("--drain");
    const uri = await one.attach("data", "--max-dirty-age", "1h");
    await writeDevice(uri, file);
    expect(await one.stop()).toBe(0);
    expect(existsSync(join(one.runDirectory, "control.sock"))).toBe(false);

    // Drained: the node may go.
    one.loseState();
    await one.serve();
    expect(await hashDevice(await one.attach("data", "--max-dirty-age", "1h"))).toBe(image);
    const newer = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 5 });
    await writeDevice(uri, file);
    expect(await one.stop()).toBe(0);
    await one.serve();
    expect(await hashDevice(uri)).toBe(newer);
  });
});

describe("without an engine", () => {
  test("snapshot and grow open the volume for the moment, dirty journal included", async () => {
    const one = node();
    const { image, file } = await filled(one);
    const newer = await makeImage({ file, sizeBytes: VOLUME_BYTES, seed: 6 });
    expect(newer).not.toBe(image);
    await writeDevice(await one.attach("data"), file);
    await one.stop("SIGKILL");
    await one.must("snapshot", "data", "monday");
    await one.must("grow", "data", "--size", "32MiB");
    await one.must("clone", "monday", "copy");
    await one.serve();
    expect(await hashDevice(await one.attach("copy"))).toBe(newer);
    expect(await deviceBytes(await one.attach("data"))).toBe(32 * MIB);
  });
});

describe("the oracle", () => {
  test("tells one changed block from none", async () => {
    const one = node();
    const { uri, image, file } = await filled(one);
    const other = join(one.folder, "block");
    await makeImage({ file: other, sizeBytes: 4096, seed: 7 });
    await writeDevice(uri, other);
    expect(await hashDevice(uri)).not.toBe(image);
    await writeDevice(uri, file);
    expect(await hashDevice(uri)).toBe(image);
  });
});
