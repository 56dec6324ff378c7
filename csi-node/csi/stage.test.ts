// Goal: a stage ends in the volume's own filesystem at the staging path, however often and after
// whatever interruption it is asked for, and never formats or hides data; an unstage ends with
// nothing left here and everything in the bucket, or leaves the volume staged. Method: the fake
// engine and the fake node; what was done to devices and mounts is compared as a list.
import { beforeEach, describe, expect, test } from "vitest";

import { asVolumeUid } from "../../core/runtime/ids.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { BLOCK, EXT4, GIB, NodeUnderTest, STAGING } from "./node-under-test.ts";
import { mountOptions, mountStaged, stage, unstage } from "./stage.ts";

let node: NodeUnderTest;

beforeEach(() => {
  node = new NodeUnderTest();
});

const staged = (changes = {}) => stage(node, node.stageOptions(changes), node.signal);
const unstaged = () => unstage(node, { volumeId: "data", stagingPath: STAGING }, node.signal);
const mounts = async () => (await node.mounter.mounts()).map(({ mountPoint }) => mountPoint);

describe("stage", () => {
  test("formats an empty volume once and mounts it", async () => {
    await staged();
    await staged();
    expect(node.mounter.done).toStrictEqual([
      "format /dev/ublkb0 ext4",
      `mount /dev/ublkb0 ${STAGING}`,
    ]);
  });

  test("mounts what is there without formatting it", async () => {
    node.disk("data").content = { kind: "filesystem", fsType: "ext4" };
    await staged();
    expect(node.mounter.done).toStrictEqual([`mount /dev/ublkb0 ${STAGING}`]);
  });

  test("never formats data that it does not know", async () => {
    node.disk("data").content = { kind: "unknown", what: "a gpt partition table" };
    await expect(staged()).rejects.toMatchObject({
      code: "in-use",
      details: { found: "a gpt partition table" },
    });
    expect(node.mounter.done).toStrictEqual([]);
  });

  test("goes on after a format that was interrupted", async () => {
    node.mounter.fail("format", new WeirError("deadline-exceeded", "mkfs hangs"));
    await expect(staged()).rejects.toMatchObject({ code: "deadline-exceeded" });
    node.mounter.fail("format", undefined);
    await staged();
    expect(node.disk("data").content).toStrictEqual({ kind: "filesystem", fsType: "ext4" });
  });

  test("as a block device leaves nothing of a broken off format on it", async () => {
    node.disk("data").content = { kind: "unfinished" };
    await staged({ use: BLOCK });
    expect(node.disk("data").content).toStrictEqual({ kind: "empty" });
  });

  test("names the filesystem that is there when another is asked for", async () => {
    node.disk("data").content = { kind: "filesystem", fsType: "xfs" };
    await expect(staged()).rejects.toMatchObject({
      code: "in-use",
      message: expect.stringContaining("xfs"),
    });
  });

  test("grows a filesystem that is smaller than its device", async () => {
    node.disk("data").content = { kind: "filesystem", fsType: "ext4" };
    node.disk("data").filesystemBytes = GIB / 2;
    await staged();
    expect(node.disk("data").filesystemBytes).toBe(GIB);
  });

  test("does not grow what is mounted read-only", async () => {
    node.disk("data").content = { kind: "filesystem", fsType: "ext4" };
    await staged({ use: { ...EXT4, mountFlags: ["ro"] } });
    expect(node.disk("data").filesystemBytes).toBe(0);
  });

  test("repairs a damaged filesystem once, then mounts it", async () => {
    Object.assign(node.disk("data"), {
      content: { kind: "filesystem", fsType: "ext4" },
      damage: "Structure needs cleaning",
    });
    await staged();
    expect(node.mounter.done).toStrictEqual(["repair /dev/ublkb0", `mount /dev/ublkb0 ${STAGING}`]);
  });

  test("does not repair what only has wrong options", async () => {
    node.disk("data").content = { kind: "filesystem", fsType: "ext4" };
    node.mounter.fail("mount", new WeirError("internal", "mount failed: unknown option"));
    await expect(staged()).rejects.toMatchObject({ code: "internal" });
    expect(node.mounter.done).toStrictEqual([]);
  });

  test("leaves alone what somebody else mounted there", async () => {
    node.mounter.mountForeign(STAGING);
    await expect(staged()).rejects.toMatchObject({ code: "conflict" });
    expect(await mounts()).toStrictEqual([STAGING]);
  });

  test("of a block volume mounts nothing", async () => {
    await staged({ use: BLOCK });
    expect(node.mounter.done).toStrictEqual([]);
    expect(node.engine.callsOf("attach")).toBe(1);
  });

  test("waits for the device, and says what to check when it does not come", async () => {
    node.engine.onDevice = () => undefined;
    const outcome = staged();
    await expect(node.clock.runUntil(outcome)).rejects.toMatchObject({
      code: "transport-unavailable",
    });
  });

  test.each(["transport-unavailable", "engine-unavailable", "not-found", "fenced"] as const)(
    "shows the engine's %s as it is",
    async (code) => {
      node.engine.fail("attach", new WeirError(code, "words of the engine"));
      await expect(staged()).rejects.toMatchObject({ code, message: "words of the engine" });
    },
  );
});

describe("mount options", () => {
  const use = { ...EXT4, kind: "filesystem", fsType: "ext4", mountFlags: [] } as const;

  test("keep a context last and nothing twice", () => {
    const mountFlags = ["noatime", 'context="a,b"', "noatime", "nodev"];
    expect(mountOptions({ ...use, mountFlags })).toStrictEqual([
      ...["noatime", "nodev", 'context="a,b"'],
    ]);
  });

  test("let xfs mount a clone beside its source", () => {
    expect(mountOptions({ ...use, fsType: "xfs", mountFlags: ["nouuid"] })).toStrictEqual([
      "nouuid",
    ]);
  });
});

describe("unstage", () => {
  test("leaves what a broken off format left to the next stage, on whatever node", async () => {
    node.mounter.fail("format", new WeirError("deadline-exceeded", "mkfs hangs"));
    await expect(staged()).rejects.toMatchObject({ code: "deadline-exceeded" });
    node.mounter.fail("format", undefined);
    await unstaged();
    expect(node.mounter.done).toStrictEqual(["format /dev/ublkb0 ext4"]);
    await staged();
    expect(node.disk("data").content).toStrictEqual({ kind: "filesystem", fsType: "ext4" });
  });

  test("unmounts, then detaches, and can be asked again", async () => {
    await staged();
    await unstaged();
    await unstaged();
    expect(await mounts()).toStrictEqual([]);
    expect((await node.engine.status({ signal: node.signal })).volumes).toStrictEqual([]);
  });

  test("of an unknown volume is fine", async () => {
    await unstage(node, { volumeId: "never", stagingPath: STAGING }, node.signal);
    expect(await mounts()).toStrictEqual([]);
  });

  test("takes away every mount that is stacked there", async () => {
    await staged();
    const volume = await attachedVolume();
    await node.mounter.mount({
      ...{ devicePath: volume.devicePath, target: STAGING, fsType: "ext4", options: [] },
    });
    await unstaged();
    expect(await mounts()).toStrictEqual([]);
  });

  test("while it is published leaves it staged", async () => {
    await staged();
    await node.mounter.makeDirectory("/pods/a");
    await node.mounter.bind({ source: STAGING, target: "/pods/a", readOnly: false });
    await expect(unstaged()).rejects.toMatchObject({ code: "aborted" });
    expect(await mounts()).toStrictEqual([STAGING, "/pods/a"]);
    expect(node.engine.callsOf("detach")).toBe(0);
  });

  test("does not detach while a filesystem in another namespace has not written back", async () => {
    await staged();
    node.mounter.heldElsewhere.add("/dev/ublkb0");
    await expect(unstaged()).rejects.toMatchObject({ code: "aborted" });
    expect(node.engine.callsOf("detach")).toBe(0);
    node.mounter.heldElsewhere.clear();
    await unstaged();
    expect(node.engine.callsOf("detach")).toBe(1);
  });

  test("without an engine leaves it staged", async () => {
    await staged();
    node.engine.fail("status", new WeirError("engine-unavailable", "no engine"));
    await expect(unstaged()).rejects.toMatchObject({ code: "engine-unavailable" });
    expect(await mounts()).toStrictEqual([STAGING]);
  });

  test("of a volume that the engine has not taken up again leaves it staged", async () => {
    await staged();
    const fault = { code: "store-unavailable", message: "the store does not answer" };
    const { volumes } = await node.engine.status({ signal: node.signal });
    const uid = volumes[0]?.uid;
    if (uid === undefined) throw new Error("not attached");
    node.engine.setWaiting([{ name: "data", uid, fault }]);
    await expect(unstaged()).rejects.toMatchObject({ code: "engine-unavailable" });
    expect(await mounts()).toStrictEqual([STAGING]);
    // Deleted, and yet its device hangs: an unmount would as well.
    const deleted = { code: "not-found", message: "there is no volume of that name" };
    node.engine.setWaiting([{ name: "data", uid, fault: deleted }]);
    await expect(unstaged()).rejects.toMatchObject({ code: "engine-unavailable" });
    expect(await mounts()).toStrictEqual([STAGING]);
  });

  test("of a volume that was deleted while its node was away asks the engine", async () => {
    const fault = { code: "not-found", message: "there is no volume of that name" };
    node.engine.setWaiting([{ name: "data", uid: asVolumeUid("5".repeat(32)), fault }]);
    await unstaged();
    expect(node.engine.callsOf("detach")).toBe(1);
    node.engine.fail("detach", new WeirError("in-use", "its device still waits here"));
    await expect(unstaged()).rejects.toMatchObject({ code: "in-use" });
  });

  test("shows why the engine could not upload everything", async () => {
    await staged();
    node.engine.fail("detach", new WeirError("store-unavailable", "no bucket"));
    await expect(unstaged()).rejects.toMatchObject({ code: "store-unavailable" });
  });
});

test("a staging that a reboot undid is done again without attaching", async () => {
  await staged();
  const volume = await attachedVolume();
  node.mounter.reboot();
  node.engine.onDevice({ volume: "data", deviceId: 0, devicePath: "/dev/ublkb0", sizeBytes: GIB });
  const use = { kind: "filesystem", fsType: "ext4", mountFlags: [], access: EXT4.access } as const;
  await mountStaged(node.mounter, { volume, use, stagingPath: STAGING });
  expect(await mounts()).toStrictEqual([STAGING]);
  expect(node.mounter.done.filter((line) => line.startsWith("format"))).toHaveLength(1);
});

async function attachedVolume() {
  const device = await node.mounter.device("/dev/ublkb0");
  if (device === undefined) throw new Error("not attached");
  return { volumeId: "data", devicePath: "/dev/ublkb0", device, sizeBytes: GIB };
}
