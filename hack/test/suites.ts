// Every suite there is. `npm test` runs them all, `npm test -- AREA` those of an area, `npm run
// check` the fast ones.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildNative, nativeFolder, type Variant } from "../native-build.ts";
import { checkout } from "../places.ts";
import { ensurePackages } from "../packages.ts";
import { goTool, goTools } from "../tools/go-tool.ts";
import { runInGuest } from "../vm/guest.ts";
import { KERNELS, type KernelName } from "../vm/kernels.ts";
import { countGtest, countLines, countVitest } from "./count.ts";
import { one, type Area, type Suite } from "./suite.ts";

const minutes = 60_000;

// What the area `handoff` runs of the native tests: the faults of the window.
const HANDOFF = "HandoffWindow*";
// Tests with more than one thread: under ThreadSanitizer the others could find nothing, in minutes.
const THREADED = "CleanCache*:JournalThread*:JournalTest*:JournalFault*:Loop*:Nbd*:Ublk*:Volume*";

export const suites: readonly Suite[] = [
  tool("format", "node", "hack/format.ts", "--check"),
  tool("lint", "oxlint", "--type-aware"),
  tool("types", "tsc"),
  tool("unused code", "knip"),
  tool("tidy", "node", "hack/tidy.ts"),
  vitest({ area: "static", name: "tests of the house", folders: ["hack"], fast: true }),
  tool("generated CRDs", "node", "hack/crds.ts", "--check"),
  { ...tool("generated protocols", "node", "hack/proto.ts", "--check"), fast: false },
  native("release", { fast: true, timeLimitMs: 5 * minutes, only: `*-${HANDOFF}` }),
  native("release", { area: "handoff", fast: true, timeLimitMs: 5 * minutes, only: HANDOFF }),
  vitest({
    area: "volume",
    name: "TypeScript",
    // A folder is found anywhere in a path: "test" alone would be every test there is.
    folders: ["core", "csi-node", "test/csi", "test/support"],
    fast: true,
  }),
  // In the one above as well, so that `npm run check` needs it once.
  vitest({ area: "handoff", name: "TypeScript", folders: ["csi-node/handoff"], fast: false }),
  vitest({
    area: "kubernetes",
    name: "TypeScript of Kubernetes",
    folders: ["crds", "operator"],
    fast: true,
  }),
  withS3({ area: "volume", name: "TypeScript with S3", project: "s3", fast: false }),
  withS3({
    area: "volume",
    name: "whole processes",
    project: "integration",
    folders: ["test/integration"],
    fast: false,
  }),
  vitest({
    area: "handoff",
    name: "grid and whole processes",
    project: "integration",
    folders: ["test/handoff"],
    fast: false,
  }),
  withApiServer({
    area: "kubernetes",
    name: "real API server",
    project: "integration",
    folders: ["test/kubernetes"],
    fast: false,
  }),
  native("asan", { fast: false, timeLimitMs: 20 * minutes }),
  native("tsan", { fast: false, timeLimitMs: 20 * minutes, only: THREADED }),
  {
    ...tool("lint of native", "node", "hack/native-lint.ts"),
    fast: false,
    timeLimitMs: 30 * minutes,
  },
  ...KERNELS.map((kernel) =>
    guest({ area: "volume", name: "guest", script: "test/vm/smoke.sh", kernel }),
  ),
  guest({
    area: "kubernetes",
    name: "node service",
    script: "test/vm/csi-node.sh",
    settings: "export ANY_ORDER_SECONDS=60",
    kernel: "7.2",
    memoryMiB: 6144,
  }),
  ...KERNELS.flatMap((kernel) => [
    guest({
      area: "volume",
      name: "ublk volume",
      script: "test/vm/ublk-volume.sh",
      kernel,
      memoryMiB: 6144,
    }),
    guest({
      area: "volume",
      name: "ublk kill",
      script: "test/vm/ublk-kill.sh",
      kernel,
      memoryMiB: 6144,
    }),
    guest({
      area: "handoff",
      name: "one device",
      script: "test/vm/handoff-devices.sh",
      settings: "HANDOFFS=20 DEVICES=1 CELLS=all",
      kernel,
      memoryMiB: 6144,
    }),
    guest({
      area: "handoff",
      name: "eight devices",
      script: "test/vm/handoff-devices.sh",
      settings: "HANDOFFS=4 DEVICES=8 CELLS=pieces",
      kernel,
      memoryMiB: 6144,
    }),
  ]),
];

/** A program that says by its exit status whether all is well. */
function tool(name: string, ...command: string[]): Suite {
  return {
    area: "static",
    name,
    fast: true,
    lane: "host",
    timeLimitMs: 5 * minutes,
    async run(context) {
      return one((await context.run(...command)).exitCode === 0);
    },
  };
}

/** Native unit tests of one variant, built first. */
function native(
  variant: Variant,
  options: { area?: Area; fast: boolean; timeLimitMs: number; only?: string },
): Suite {
  const { area = "volume", only = "*" } = options;
  return {
    area,
    name: `native, ${variant}`,
    lane: "host",
    fast: options.fast,
    timeLimitMs: options.timeLimitMs,
    async run(context) {
      if (!(await buildNative(variant, { file: context.logFile }))) {
        return one(false);
      }
      const report = join(context.folder, "report.json");
      const program = join(nativeFolder(variant), "weir_native_tests");
      const { exitCode } = await context.run(
        // Without a fixed layout, ThreadSanitizer of gcc 12 may find its addresses taken.
        ...["setarch", "--addr-no-randomize", program],
        ...["--gtest_brief=1", `--gtest_filter=${only}`, `--gtest_output=json:${report}`],
      );
      return countGtest(report, exitCode);
    },
  };
}

function vitest(options: {
  area: Area;
  name: string;
  fast: boolean;
  project?: string;
  folders?: string[];
}): Suite {
  const { project = "unit", folders = [], ...rest } = options;
  return {
    ...rest,
    lane: "host",
    timeLimitMs: 25 * minutes,
    async run(context) {
      const report = join(context.folder, "report.json");
      const { exitCode } = await context.run(
        ...["vitest", "run", "--project", project, "--dir", checkout],
        ...["--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
        ...folders,
      );
      return countVitest(report, exitCode);
    },
  };
}

/** As vitest, with the S3 server built before: the first build takes minutes. */
function withS3(options: Parameters<typeof vitest>[0]): Suite {
  const suite = vitest(options);
  return {
    ...suite,
    async run(context) {
      await goTool("versitygw");
      return suite.run(context);
    },
  };
}

/** As vitest, with the API server and its clients built before. */
function withApiServer(options: Parameters<typeof vitest>[0]): Suite {
  const suite = vitest(options);
  return {
    ...suite,
    async run(context) {
      await ensurePackages(["kubernetes"]);
      await goTools("kubernetes", ["kube-apiserver", "kubectl", "helm"]);
      return suite.run(context);
    },
  };
}

/** A script of test/vm in a guest with one of the kernels. */
function guest(options: {
  area: Area;
  name: string;
  script: string;
  kernel: KernelName;
  memoryMiB?: number;
  /** Variables of the script. */
  settings?: string;
}): Suite {
  const { area, name, script, kernel, memoryMiB = 4096, settings = "" } = options;
  return {
    area,
    name: `${name}, kernel ${kernel}`,
    fast: false,
    lane: "guest",
    timeLimitMs: 20 * minutes,
    async run(context) {
      if (!(await buildNative("release", { file: context.logFile }))) {
        return one(false);
      }
      const text = readFileSync(join(checkout, script), "utf8");
      const end = await runInGuest({
        kernel,
        script: `${settings}\n${text}`,
        memoryMiB,
        timeoutMs: context.timeLimitMs,
      });
      context.log(end.output);
      for (const complaint of end.complaints) {
        context.log(complaint);
      }
      return countLines(end.output, end.exitCode === 0 && end.complaints.length === 0);
    },
  };
}
