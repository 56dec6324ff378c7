// Goal: of Kubernetes' suite exactly those specs are chosen that can run here, every kind early;
// and the driver's manifest has no key that the suite would ignore without a word. Method: a report
// as a dry run writes it, and the manifest against a schema of the keys that Kubernetes 1.36 knows.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { checkout } from "../places.ts";
import { chooseSpecs, nameOf, parseReport } from "./e2e-specs.ts";

const DRIVER = "External Storage [Driver: csi.weir.storage]";

interface Told {
  readonly pattern: string;
  readonly suite: string;
  readonly what?: string;
  readonly labels?: readonly string[];
  readonly state?: string;
}

function reportOf(...specs: readonly Told[]) {
  const before = { LeafNodeType: "BeforeSuite", LeafNodeText: "", LeafNodeLabels: null };
  const written = [
    { ...before, ContainerHierarchyTexts: null, State: "passed", RunTime: 1 },
    ...specs.map(({ pattern, suite, what = "works", labels = [], state = "passed" }) => ({
      LeafNodeType: "It",
      LeafNodeText: what,
      LeafNodeLabels: null,
      ContainerHierarchyTexts: [DRIVER, `[Testpattern: ${pattern}] ${suite}`, ""],
      ContainerHierarchyLabels: [null, labels],
      State: state,
      RunTime: 1,
    })),
  ];
  return parseReport(JSON.stringify([{ SpecReports: written }]));
}

const namesOf = (report: ReturnType<typeof reportOf>, only = /./u) =>
  chooseSpecs(report, only).wanted.map(nameOf);

const PV = "Dynamic PV (default fs)";
const BLOCK = "Dynamic PV (block volmode)";

test("a spec's parts are found, tags left out", () => {
  const [found] = chooseSpecs(
    reportOf({
      pattern: "Dynamic Snapshot (retain policy)",
      suite: "snapshottable [Feature:VolumeSnapshotDataSource] volume snapshot controller",
      what: "should restore [LinuxOnly]",
      labels: ["Feature:VolumeSnapshotDataSource"],
    }),
    /./u,
  ).wanted;
  expect(found).toMatchObject({
    suite: "snapshottable",
    pattern: "Dynamic Snapshot (retain policy)",
    what: "volume snapshot controller should restore",
    isAlone: false,
  });
  expect(found?.text.startsWith(`${DRIVER} [Testpattern: Dynamic Snapshot`)).toBe(true);
  // An empty container leaves no space, or the suite would not find the spec by this text.
  expect(found?.text).not.toContain("  ");
});

test.for<[reason: string, spec: Told]>([
  ["disruptive", { pattern: PV, suite: "disruptive", labels: ["Disruptive", "Slow"] }],
  ["slow", { pattern: PV, suite: "volumes", labels: ["Slow"] }],
  ["needs SELinux", { pattern: PV, suite: "seLinuxMount", labels: ["Feature:SELinux"] }],
  ["another filesystem", { pattern: "Dynamic PV (ext3)", suite: "volumes" }],
  ["the bucket is the same for every node", { pattern: PV, suite: "topology" }],
  [
    "read by many nodes at once, which we do not offer",
    { pattern: PV, suite: "provisioning", what: "from a snapshot (ROX mode)" },
  ],
])("left out: %s", ([reason, spec]) => {
  const choice = chooseSpecs(reportOf(spec), /./u);
  expect(choice.wanted).toEqual([]);
  expect([...choice.left.keys()]).toEqual([reason]);
});

test("what the dry run did not choose is not counted", () => {
  const report = reportOf({ pattern: PV, suite: "volumes", state: "skipped" });
  expect(chooseSpecs(report, /./u)).toEqual({ wanted: [], left: new Map() });
});

test("suites take turns, with a new pattern where there is one; who needs quiet comes last", () => {
  const report = reportOf(
    { pattern: PV, suite: "volumes", what: "a" },
    { pattern: PV, suite: "volumes", what: "b" },
    { pattern: BLOCK, suite: "volumes", what: "c" },
    { pattern: PV, suite: "subPath", what: "a" },
    { pattern: PV, suite: "alone", what: "a [Serial]" },
  );
  expect(namesOf(report)).toEqual([
    `subPath: a · ${PV}`,
    `volumes: a · ${PV}`,
    `volumes: c · ${BLOCK}`,
    `volumes: b · ${PV}`,
    `alone: a · ${PV}`,
  ]);
});

test("a focus leaves the others out, and says so", () => {
  const report = reportOf({ pattern: PV, suite: "volumes" }, { pattern: PV, suite: "subPath" });
  const { wanted, left } = chooseSpecs(report, /subPath/u);
  expect(wanted.map(nameOf)).toEqual([`subPath: works · ${PV}`]);
  expect(left).toEqual(new Map([["not asked for", [`volumes: works · ${PV}`]]]));
});

test("the manifest holds only keys that the suite knows", () => {
  const text = readFileSync(join(checkout, "test/cluster/e2e-driver.yaml"), "utf8");
  const manifest: unknown = parse(text);
  expect(manifestFormat.safeParse(manifest).error).toBeUndefined();
});

const CAPABILITIES = [
  ...["persistence", "block", "fsGroup", "volumeMountGroup", "exec", "snapshotDataSource"],
  ...["snapshotMetadata", "groupSnapshot", "pvcDataSource", "multipods", "RWX"],
  ...["controllerExpansion", "nodeExpansion", "offlineExpansion", "onlineExpansion"],
  ...["volumeLimits", "singleNodeVolume", "topology", "capacity", "readWriteOncePod"],
  ...["FSResizeFromSourceNotSupported", "multiplePVsSameID", "capReadOnlyMany", "seLinuxMount"],
] as const;

const TIMEOUTS = [
  ...["Poll", "PodStart", "PodStartShort", "PodStartSlow", "PodDelete", "ClaimProvision"],
  ...["DataSourceProvision", "ClaimProvisionShort", "ClaimBound", "PVReclaim", "PVBound"],
  ...["PVCreate", "PVDelete", "PVDeleteSlow", "SnapshotCreate", "SnapshotDelete"],
] as const;

const options = z.record(z.string(), z.strictObject({}));
const existing = z.strictObject({ FromExistingClassName: z.string() });

const manifestFormat = z.strictObject({
  StorageClass: existing,
  SnapshotClass: existing,
  DriverInfo: z.strictObject({
    Name: z.literal("csi.weir.storage"),
    SupportedSizeRange: z.strictObject({ Min: z.string(), Max: z.string() }),
    SupportedFsType: options,
    SupportedMountOption: options,
    // Each of them, so that none is forgotten.
    Capabilities: z.record(z.enum(CAPABILITIES), z.boolean()),
  }),
  Timeouts: z.partialRecord(z.enum(TIMEOUTS), z.string().regex(/^\d+[ms]$/u)),
});
