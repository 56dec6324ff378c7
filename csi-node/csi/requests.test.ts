// Goal: every request that CSI calls invalid is refused with the field's name before anything is
// done, and every valid one is understood. Method: generated messages with one field wrong each.
import { describe, expect, test } from "vitest";

import {
  NodePublishVolumeRequest,
  NodeStageVolumeRequest,
  NodeUnpublishVolumeRequest,
  NodeUnstageVolumeRequest,
  VolumeCapability,
  VolumeCapability_AccessMode_Mode as Mode,
} from "../../core/csi/generated/csi.ts";
import { parsePublish, parseUnpublish } from "./publish.ts";
import { parsePolicy, parseUse } from "./requests.ts";
import { parseStage, parseUnstage } from "./stage.ts";

function capability(mode: Mode, fsType = "") {
  const value = { fsType, mountFlags: ["noatime"], volumeMountGroup: "" };
  return VolumeCapability.fromPartial({
    accessType: { $case: "mount", value },
    accessMode: { mode },
  });
}

const volumeCapability = capability(Mode.SINGLE_NODE_WRITER);
const invalid = (named: string) =>
  expect.objectContaining({ code: "invalid-argument", message: expect.stringContaining(named) });

describe("what is missing is named", () => {
  const full = { volumeId: "data", stagingTargetPath: "/s", targetPath: "/t", volumeCapability };

  test.each([
    ["volume_id", { volumeId: "" }],
    ["staging_target_path", { stagingTargetPath: "" }],
    ["staging_target_path", { stagingTargetPath: "relative" }],
    ["volume_capability", { volumeCapability: undefined }],
  ])("%s of a stage and a publish", (field, change) => {
    const stage = NodeStageVolumeRequest.fromPartial({ ...full, ...change });
    const publish = NodePublishVolumeRequest.fromPartial({ ...full, ...change });
    expect(() => parseStage(stage)).toThrow(invalid(field));
    expect(() => parsePublish(publish)).toThrow(invalid(field));
  });

  test("the paths of the ways back", () => {
    const publish = NodePublishVolumeRequest.fromPartial({ ...full, targetPath: "" });
    expect(() => parsePublish(publish)).toThrow(invalid("target_path"));
    const unstage = NodeUnstageVolumeRequest.fromPartial({ volumeId: "data" });
    expect(() => parseUnstage(unstage)).toThrow(invalid("staging_target_path"));
    const unpublish = NodeUnpublishVolumeRequest.fromPartial({ volumeId: "data" });
    expect(() => parseUnpublish(unpublish)).toThrow(invalid("target_path"));
  });
});

describe("how a volume is used", () => {
  test.each([
    [Mode.SINGLE_NODE_WRITER, { readOnly: false, exclusive: true }],
    [Mode.SINGLE_NODE_SINGLE_WRITER, { readOnly: false, exclusive: true }],
    [Mode.SINGLE_NODE_MULTI_WRITER, { readOnly: false, exclusive: false }],
    [Mode.SINGLE_NODE_READER_ONLY, { readOnly: true, exclusive: true }],
  ])("access mode %i", (mode, access) => {
    expect(parseUse(capability(mode)).access).toStrictEqual(access);
  });

  test.each([Mode.UNKNOWN, Mode.MULTI_NODE_MULTI_WRITER, Mode.MULTI_NODE_READER_ONLY])(
    "access mode %i is refused",
    (mode) => {
      expect(() => parseUse(capability(mode))).toThrow(
        expect.objectContaining({ code: "invalid-argument" }),
      );
    },
  );

  test("a filesystem is ext4 unless it is named, and one that is served", () => {
    const use = { kind: "filesystem", fsType: "ext4", mountFlags: ["noatime"] };
    expect(parseUse(volumeCapability)).toMatchObject(use);
    expect(parseUse(capability(Mode.SINGLE_NODE_WRITER, "xfs"))).toMatchObject({ fsType: "xfs" });
    expect(() => parseUse(capability(Mode.SINGLE_NODE_WRITER, "btrfs"))).toThrow(invalid("ext4"));
  });

  test("the engine's part comes from the volume's context", () => {
    const policy = parsePolicy({
      "weir.storage/durability": "s3",
      "weir.storage/maxDirtyAge": "500ms",
      "weir.storage/color": "blue",
    });
    expect(policy).toMatchObject({ durability: "s3", maxDirtyAgeMs: 500 });
    expect(parsePolicy({})).toMatchObject({ durability: "local", maxDirtyAgeMs: 5_000 });
    expect(() => parsePolicy({ "weir.storage/durability": "maybe" })).toThrow(
      invalid("durability"),
    );
    expect(() => parsePolicy({ "weir.storage/maxDirtyAge": "5" })).toThrow(invalid("maxDirtyAge"));
  });
});
