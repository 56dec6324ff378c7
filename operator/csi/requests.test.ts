// Goal: what a request may ask for, and what is said when it may not: the code that CSI wants and a
// sentence that names the mistake. Method: tables over the pure parts: names, sizes, parameters,
// capabilities, pages.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability,
} from "../../core/csi/generated/csi.ts";
import { isObjectName, snapshotNameFor, volumeNameFor, volumeUidOf } from "../names.ts";
import { checkCapabilities } from "./capability.ts";
import { parseCreateVolume } from "./create-request.ts";
import { pageOf } from "./pages.ts";
import { checkSnapshotParameters, labelsIn, parseVolumeParameters } from "./parameters.ts";
import { DEFAULT_BYTES, parseSize } from "./size.ts";
import { createRequest, GIB, mountCapability } from "../../test/support/operator-world.ts";

describe("names", () => {
  test("a name that may be an object's stays; any other becomes a hash of itself", () => {
    expect(volumeNameFor("pvc-1")).toBe("pvc-1");
    expect(volumeNameFor("A")).toMatch(/^v-[0-9a-f]{40}$/u);
    expect(snapshotNameFor("A")).toMatch(/^s-[0-9a-f]{40}$/u);
    expect(volumeNameFor("x".repeat(64))).not.toBe(volumeNameFor("x".repeat(65)));
  });
  test("every name maps to a valid one, always the same", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 128 }), (name) => {
        expect(isObjectName(volumeNameFor(name))).toBe(true);
        expect(volumeNameFor(name)).toBe(volumeNameFor(name));
      }),
    );
  });
  test("what is no UUID is refused", () => {
    expect(() => volumeUidOf({ uid: "x" })).toThrow(/no UUID/u);
  });
});

describe("sizes", () => {
  const parse = (required: number, limit = 0, defaultBytes = DEFAULT_BYTES) =>
    parseSize({ requiredBytes: BigInt(required), limitBytes: BigInt(limit) }, { defaultBytes });
  test.each([
    [0, 0, GIB],
    [1, 0, 4096],
    [4096, 0, 4096],
    [GIB + 1, 0, GIB + 4096],
    [0, 5000, 4096],
    [0, 2 * GIB, GIB],
    [5000, 8192, 8192],
    [64 * 2 ** 40, 0, 64 * 2 ** 40],
  ])("required %d, limit %d", (required, limit, expected) => {
    expect(parse(required, limit).leastBytes).toBe(expected);
  });
  test.each([
    [-1, 0, "invalid-argument"],
    [1, -1, "invalid-argument"],
    [5000, 5001, "out-of-range"],
    [2 * GIB, GIB, "out-of-range"],
    [0, 4095, "out-of-range"],
    [64 * 2 ** 40 + 1, 0, "out-of-range"],
  ])("required %d, limit %d: %s", (required, limit, code) => {
    expect(() => parse(required, limit)).toThrow(
      expect.objectContaining({ code, reason: "SizeInvalid" }),
    );
  });
  test("no range at all is the default", () => {
    expect(parseSize(undefined, { defaultBytes: 8192 }).leastBytes).toBe(8192);
  });
});

describe("parameters", () => {
  test("defaults, and all that there are", () => {
    expect(parseVolumeParameters({})).toEqual({ durability: "local" });
    const all = { durability: "s3", maxDirtyAge: "500ms", "csi.storage.k8s.io/fstype": "xfs" };
    expect(parseVolumeParameters(all)).toEqual({ durability: "s3", maxDirtyAge: "500ms" });
  });
  test.each([
    [{ durabilty: "s3" }, "ParameterUnknown", /"durabilty": there are durability and maxDirtyAge/u],
    [{ durability: "S3" }, "ParameterInvalid", /"local" or "s3", not "S3"/u],
    [{ maxDirtyAge: "9ms" }, "ParameterInvalid", /from 10ms to 24h/u],
    [{ maxDirtyAge: "25h" }, "ParameterInvalid", /from 10ms to 24h/u],
  ])("%j", (parameters, reason, message) => {
    expect(() => parseVolumeParameters(parameters)).toThrow(expect.objectContaining({ reason }));
    expect(() => parseVolumeParameters(parameters)).toThrow(message);
  });
  test("a duration that is none is refused with its text", () => {
    expect(() => parseVolumeParameters({ maxDirtyAge: "soon" })).toThrow(/not "soon"/u);
  });
  test("a snapshot class has none of its own", () => {
    checkSnapshotParameters({ "csi.storage.k8s.io/volumesnapshot/name": "x" });
    expect(() => checkSnapshotParameters({ fast: "yes" })).toThrow(/"fast": there are none/u);
  });
  test("labels hold what fits a label", () => {
    const parameters = {
      "csi.storage.k8s.io/pvc/name": "x".repeat(64),
      "csi.storage.k8s.io/pvc/namespace": "default",
    };
    expect(labelsIn(parameters)).toEqual({ "weir.storage/pvc-namespace": "default" });
  });
});

describe("capabilities", () => {
  const block = (mode: Mode): VolumeCapability => ({
    accessType: { $case: "block", value: {} },
    accessMode: { mode },
  });
  test.each([
    Mode.SINGLE_NODE_WRITER,
    Mode.SINGLE_NODE_READER_ONLY,
    Mode.SINGLE_NODE_SINGLE_WRITER,
    Mode.SINGLE_NODE_MULTI_WRITER,
  ])("mode %d is honoured", (mode) => {
    checkCapabilities([block(mode), mountCapability(mode), mountCapability(mode, "xfs")]);
    expect(mode).toBeGreaterThan(0);
  });
  test.each<[VolumeCapability[], RegExp]>([
    [[], /volume_capabilities is missing/u],
    [[block(Mode.MULTI_NODE_MULTI_WRITER)], /one node at a time/u],
    [[block(Mode.MULTI_NODE_READER_ONLY)], /one node at a time/u],
    [[block(Mode.MULTI_NODE_SINGLE_WRITER)], /one node at a time/u],
    [[block(Mode.UNKNOWN)], /access mode/u],
    [[{ accessType: undefined, accessMode: undefined }], /access type/u],
    [[mountCapability(Mode.SINGLE_NODE_WRITER, "zfs")], /ext4, xfs, not "zfs"/u],
  ])("refused: %j", (capabilities, message) => {
    expect(() => checkCapabilities(capabilities)).toThrow(
      expect.objectContaining({ code: "invalid-argument" }),
    );
    expect(() => checkCapabilities(capabilities)).toThrow(message);
  });
});

describe("requests", () => {
  test("a name is needed, and nothing may be mutable", () => {
    expect(() => parseCreateVolume(createRequest(""))).toThrow(/name is missing/u);
    const mutable = createRequest("a", { mutableParameters: { iops: "9" } });
    expect(() => parseCreateVolume(mutable)).toThrow(/"iops" cannot be set/u);
  });
});

describe("pages", () => {
  const objects = ["c", "a", "b"].map((name) => ({ metadata: { name } }));
  const names = (page: { readonly entries: readonly { metadata: { name: string } }[] }) =>
    page.entries.map(({ metadata }) => metadata.name);
  test("go on behind the last entry, whatever came and went", () => {
    const first = pageOf(objects, { maxEntries: 2, startingToken: "" });
    expect(names(first)).toEqual(["a", "b"]);
    const next = { maxEntries: 2, startingToken: first.nextToken };
    expect(names(pageOf(objects, next))).toEqual(["c"]);
    const changed = [{ metadata: { name: "bb" } }, { metadata: { name: "d" } }];
    expect(names(pageOf(changed, next))).toEqual(["bb", "d"]);
    expect(pageOf(objects, { maxEntries: 3, startingToken: "" }).nextToken).toBe("");
  });
  test("a token that is not ours is aborted, a negative number refused", () => {
    const page = (maxEntries: number, startingToken: string) => () =>
      pageOf(objects, { maxEntries, startingToken });
    expect(page(1, "invalid-token")).toThrow(expect.objectContaining({ code: "aborted" }));
    expect(page(-1, "")).toThrow(expect.objectContaining({ code: "invalid-argument" }));
  });
});
