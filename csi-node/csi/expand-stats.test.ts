// Goal: an expand grows device and filesystem once, wherever kubelet points, and gives the codes
// that sidecars rely on; stats tell what is used, without the engine. Method: the fake engine and
// the fake node.
import { beforeEach, describe, expect, test } from "vitest";

import {
  NodeExpandVolumeRequest,
  NodeGetVolumeStatsRequest,
  VolumeUsage_Unit as Unit,
} from "../../core/csi/generated/csi.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { expand, parseExpand } from "./expand.ts";
import { BLOCK, GIB, NodeUnderTest, STAGING } from "./node-under-test.ts";
import { publish } from "./publish.ts";
import { stage } from "./stage.ts";
import { volumeStats } from "./stats.ts";

const A = "/pods/a/mount";
const BIG = BigInt(2 * GIB);

let node: NodeUnderTest;

beforeEach(() => {
  node = new NodeUnderTest();
});

const ready = async (changes = {}) => {
  await stage(node, node.stageOptions(changes), node.signal);
  await publish(node, node.publishOptions(A, changes), node.signal);
};

function expanded(volumePath: string, requiredBytes = BIG, limitBytes = 0n) {
  const capacityRange = { requiredBytes, limitBytes };
  const request = { volumeId: "data", volumePath, capacityRange };
  const options = parseExpand(NodeExpandVolumeRequest.fromPartial(request));
  return expand(node, options, node.signal);
}

describe("expand", () => {
  test.each([
    ["the staging path", STAGING],
    ["the target path", A],
  ])("by %s grows device and filesystem", async (_name, path) => {
    await ready();
    expect(await expanded(path)).toBe(2 * GIB);
    expect(node.disk("data").filesystemBytes).toBe(2 * GIB);
    expect(node.engine.callsOf("grow")).toBe(1);
  });

  test("of what is big enough does not ask the engine", async () => {
    await ready();
    await expanded(A);
    expect(await expanded(A)).toBe(2 * GIB);
    expect(await expanded(A, 5n)).toBe(2 * GIB);
    expect(node.engine.callsOf("grow")).toBe(1);
  });

  test("that did not reach the device is tried again", async () => {
    await ready();
    const onDevice = node.engine.onDevice;
    node.engine.onDevice = () => undefined;
    const refusal = node.clock.runUntil(expanded(A)).catch((cause: unknown) => cause);
    expect(await refusal).toMatchObject({ code: "transport-unavailable" });
    node.engine.onDevice = onDevice;
    expect(await expanded(A)).toBe(2 * GIB);
    expect(node.disk("data").filesystemBytes).toBe(2 * GIB);
  });

  test("rounds up to whole blocks", async () => {
    await ready();
    expect(await expanded(A, BIG + 1n)).toBe(2 * GIB + 4096);
  });

  test.each([
    ["device", "/dev/ublkb0"],
    ["target", A],
  ])("of a block volume by its %s grows the device only", async (_name, path) => {
    await ready({ use: BLOCK });
    expect(await expanded(path)).toBe(2 * GIB);
    expect(node.disk("data").filesystemBytes).toBe(0);
  });

  test("waits for the device to follow", async () => {
    await ready();
    node.engine.onDevice = () => undefined;
    const outcome = expanded(A);
    await expect(node.clock.runUntil(outcome)).rejects.toMatchObject({
      code: "transport-unavailable",
    });
  });

  test("of an unknown volume or path is NOT_FOUND", async () => {
    await expect(expanded(A)).rejects.toMatchObject({ code: "not-found" });
    await ready();
    await expect(expanded("/elsewhere")).rejects.toMatchObject({ code: "not-found" });
  });

  test("between two block sizes is out of range", async () => {
    await ready();
    expect(() => expanded(A, BIG + 1n, BIG + 2n)).toThrow(
      expect.objectContaining({ code: "out-of-range" }),
    );
  });
});

describe("stats", () => {
  const asked = (volumePath: string, volumeId = "data") =>
    volumeStats(node.mounter, NodeGetVolumeStatsRequest.fromPartial({ volumeId, volumePath }));

  test("of a filesystem are its bytes and inodes, also without an engine", async () => {
    await ready();
    node.engine.fail("status", new WeirError("engine-unavailable", "no engine"));
    const { usage } = await asked(A);
    expect(usage).toStrictEqual([
      { unit: Unit.BYTES, total: BigInt(GIB), used: 0n, available: BigInt(GIB) },
      { unit: Unit.INODES, total: 100n, used: 1n, available: 99n },
    ]);
  });

  test("of a block volume are its size", async () => {
    await ready({ use: BLOCK });
    expect((await asked(A)).usage).toMatchObject([{ unit: Unit.BYTES, total: BigInt(GIB) }]);
  });

  test("of a path without a volume are NOT_FOUND", async () => {
    await expect(asked("some/path")).rejects.toMatchObject({ code: "not-found" });
    await expect(asked("")).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(asked(A, "")).rejects.toMatchObject({ code: "invalid-argument" });
  });
});
