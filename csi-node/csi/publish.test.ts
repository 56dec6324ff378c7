// Goal: a publish shows a pod its volume and nothing else, at as many paths as the access mode
// allows; an unpublish leaves no trace and needs nobody. Method: the fake engine and the fake node.
import { beforeEach, describe, expect, test } from "vitest";

import { WeirError } from "../../core/runtime/errors.ts";
import { BLOCK, EXT4, NodeUnderTest, STAGING } from "./node-under-test.ts";
import { publish, unpublish, type PublishOptions } from "./publish.ts";
import { stage } from "./stage.ts";

const A = "/pods/a/mount";
const B = "/pods/b/mount";

let node: NodeUnderTest;

beforeEach(() => {
  node = new NodeUnderTest();
});

const staged = (changes = {}) => stage(node, node.stageOptions(changes), node.signal);
const published = (target: string, changes: Partial<PublishOptions> = {}) =>
  publish(node, node.publishOptions(target, changes), node.signal);
const mounts = async () => (await node.mounter.mounts()).map(({ mountPoint }) => mountPoint);
const once = { ...EXT4, access: { readOnly: false, exclusive: true } };

describe("a filesystem", () => {
  beforeEach(() => staged());

  test("is published twice at one path as once", async () => {
    await published(A);
    await published(A);
    expect(await mounts()).toStrictEqual([STAGING, A]);
  });

  test("is published at two paths unless the mode forbids it", async () => {
    await published(A);
    await published(B);
    expect(await mounts()).toStrictEqual([STAGING, A, B]);
    await expect(published("/pods/c/mount", { use: once })).rejects.toMatchObject({
      code: "in-use",
    });
  });

  test("of one path only is published there again, and elsewhere after it is gone", async () => {
    await published(A, { use: once });
    await published(A, { use: once });
    await unpublish(node, { targetPath: A });
    await published(B, { use: once });
    expect(await mounts()).toStrictEqual([STAGING, B]);
  });

  test("may have kubelet's binds of its folders beside the one path", async () => {
    await node.mounter.makeDirectory("/pods/a/volume-subpaths/x/0");
    const subpath = { source: STAGING, target: "/pods/a/volume-subpaths/x/0", readOnly: false };
    await node.mounter.bind(subpath);
    await published(A, { use: once });
    expect(await mounts()).toContain(A);
  });

  test("that is read-only is so, and asking for another mode there is a conflict", async () => {
    await published(A, { readOnly: true });
    const [, mount] = await node.mounter.mounts();
    expect(mount?.readOnly).toBe(true);
    await published(A, { readOnly: true });
    await expect(published(A)).rejects.toMatchObject({ code: "conflict" });
  });

  test("does not replace what somebody else mounted", async () => {
    node.mounter.mountForeign(A);
    await expect(published(A)).rejects.toMatchObject({ code: "conflict" });
  });

  test("is not touched by a second publish", async () => {
    node.mounter.fail("grow", new WeirError("deadline-exceeded", "the device hangs"));
    await published(A);
    expect(await mounts()).toStrictEqual([STAGING, A]);
  });

  test("whose staging a reboot undid is mounted again, not the bare directory", async () => {
    node.mounter.reboot();
    node.engine.onDevice({ volume: "data", deviceId: 7, devicePath: "/dev/ublkb0", sizeBytes: 8 });
    await published(A);
    const devices = (await node.mounter.mounts()).map(({ device }) => device);
    expect(devices).toStrictEqual(["259:7", "259:7"]);
  });

  test("that vanishes in between is not half published", async () => {
    const released = node.mounter.hold("bind");
    const outcome = published(A);
    await node.clock.settle();
    // As a lazy unmount by hand does.
    await node.mounter.unmount(STAGING);
    released();
    await expect(outcome).rejects.toMatchObject({ code: "aborted" });
    expect(await mounts()).toStrictEqual([]);
    expect(await node.mounter.kindOf(A)).toBe("absent");
  });

  test("that cannot be bound leaves nothing behind", async () => {
    node.mounter.fail("bind", new WeirError("internal", "mount failed"));
    await expect(published(A)).rejects.toMatchObject({ code: "internal" });
    expect(await node.mounter.kindOf(A)).toBe("absent");
  });
});

test("a volume that this node does not serve is not published", async () => {
  await expect(published(A)).rejects.toMatchObject({ code: "in-use" });
  expect(await mounts()).toStrictEqual([]);
  expect(node.engine.callsOf("attach")).toBe(0);
});

test("a foreign mount at the staging path is never bound", async () => {
  await staged();
  await node.mounter.unmount(STAGING);
  node.mounter.mountForeign(STAGING);
  await expect(published(A)).rejects.toMatchObject({ code: "conflict" });
  expect(await mounts()).toStrictEqual([STAGING]);
});

describe("a block volume", () => {
  beforeEach(() => staged({ use: BLOCK }));

  test("appears as its device at the path", async () => {
    await published(A, { use: BLOCK });
    await published(A, { use: BLOCK });
    expect(node.mounter.done).toStrictEqual([`bind /dev/ublkb0 ${A}`]);
    expect((await node.mounter.device(A))?.number).toBe("259:0");
  });

  test("of one path only is not published at another", async () => {
    await published(A, { use: BLOCK });
    const single = { ...BLOCK, access: { readOnly: false, exclusive: true } };
    await expect(published(B, { use: single })).rejects.toMatchObject({ code: "in-use" });
  });
});

describe("unpublish", () => {
  test("removes the target, and a missing one is fine", async () => {
    await staged();
    await published(A);
    await unpublish(node, { targetPath: A });
    await unpublish(node, { targetPath: A });
    expect(await mounts()).toStrictEqual([STAGING]);
    expect(await node.mounter.kindOf(A)).toBe("absent");
  });

  test("needs no engine", async () => {
    await staged();
    await published(A);
    node.engine.fail("status", new WeirError("engine-unavailable", "no engine"));
    await unpublish(node, { targetPath: A });
    expect(await mounts()).toStrictEqual([STAGING]);
  });
});
