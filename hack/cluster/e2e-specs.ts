// Which specs of Kubernetes' external-storage suite can run here, and in which order: one of each
// kind before the second of any, so that what fits into the time has touched everything.
import { z } from "zod";

export interface Spec {
  /** As the suite names it in full; a regular expression finds it. */
  readonly text: string;
  /** `volumes`, `subPath`, ...: what a group of specs is about. */
  readonly suite: string;
  /** `Dynamic PV (ext4)`, ...: the kind of volume. */
  readonly pattern: string;
  readonly what: string;
  /** Nothing else may use the cluster meanwhile. */
  readonly isAlone: boolean;
}

export interface Choice {
  readonly wanted: readonly Spec[];
  /** By the reason why not. */
  readonly left: ReadonlyMap<string, readonly string[]>;
}

const texts = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);

const labels = z
  .array(texts)
  .nullish()
  .transform((lists) => (lists ?? []).flat());

/** What `--ginkgo.json-report` writes, as far as it is read here. */
const reportFormat = z
  .array(
    z.object({
      SpecReports: z.array(
        z.object({
          LeafNodeType: z.string(),
          LeafNodeText: z.string(),
          LeafNodeLabels: texts,
          ContainerHierarchyTexts: texts,
          ContainerHierarchyLabels: labels,
          State: z.string(),
          RunTime: z.number(),
          Failure: z.object({ Message: z.string() }).optional(),
        }),
      ),
    }),
  )
  .transform((suites) => suites.flatMap((suite) => suite.SpecReports));

type SpecReport = z.infer<typeof reportFormat>[number];

export function parseReport(text: string): readonly SpecReport[] {
  return reportFormat.parse(JSON.parse(text));
}

/** From the report of a dry run, in which every chosen spec passes. */
export function chooseSpecs(report: readonly SpecReport[], only: RegExp): Choice {
  const wanted: Spec[] = [];
  const left = new Map<string, string[]>();
  for (const spec of report) {
    if (spec.LeafNodeType !== "It" || spec.State !== "passed") continue;
    const found = describe(spec);
    const reason = reasonAgainst(found, [...spec.ContainerHierarchyLabels, ...spec.LeafNodeLabels]);
    const why = reason ?? (only.test(found.text) ? undefined : "not asked for");
    if (why === undefined) wanted.push(found);
    else left.set(why, [...(left.get(why) ?? []), nameOf(found)]);
  }
  return { wanted: inTurns(wanted), left };
}

/** Short, for people. */
export function nameOf({ suite, pattern, what }: Spec): string {
  return `${suite}: ${what} · ${pattern}`;
}

function describe(spec: SpecReport): Spec {
  // As the suite itself joins them: empty ones leave no space.
  const parts = [...spec.ContainerHierarchyTexts, spec.LeafNodeText];
  const text = parts.filter((part) => part !== "").join(" ");
  const [, pattern = "", rest = ""] = /\[Testpattern: ([^\]]*)\] (.*)/su.exec(text) ?? [];
  const isTag = (word: string) => /^\[.*\]$/u.test(word);
  const [suite = "", ...words] = rest.split(" ").filter((word) => word !== "" && !isTag(word));
  return {
    text,
    suite,
    pattern: pattern.trim(),
    what: words.join(" "),
    isAlone: /\[Serial\]/u.test(text),
  };
}

/** What the manifest rules out: the suite itself would skip these, but only one by one. */
const NOT_OURS: readonly {
  readonly reason: string;
  readonly pattern?: RegExp;
  readonly suite?: string;
  readonly what?: RegExp;
}[] = [
  { reason: "kind of volume that no CSI driver has", pattern: /Inline-volume|Pre-provisioned PV/u },
  { reason: "inline volume without a claim, which we do not offer", pattern: /CSI Ephemeral/u },
  { reason: "another filesystem", pattern: /\((?:ext3|ntfs)\)/u },
  { reason: "read by many nodes at once, which we do not offer", what: /\(ROX mode\)/u },
  { reason: "the bucket is the same for every node", suite: "topology" },
  { reason: "the bucket is never full", suite: "capacity" },
  // A populator and a validator of Kubernetes' own, nowhere to be had without a registry.
  { reason: "needs images of a registry", what: /any volume data source/u },
];

/** Labels of specs for features that a driver may have or not; ours are these. */
const FEATURES: ReadonlySet<string> = new Set([
  ...["Feature:VolumeSnapshotDataSource", "Feature:VolumeSourceXFS"],
]);

function reasonAgainst(spec: Spec, labels: readonly string[]): string | undefined {
  if (labels.includes("Disruptive")) return "disruptive";
  const other = labels.find((label) => label.startsWith("Feature:") && !FEATURES.has(label));
  if (other !== undefined) return `needs ${other.slice("Feature:".length)}`;
  const notOurs = NOT_OURS.find(
    ({ pattern, suite, what }) =>
      pattern?.test(spec.pattern) === true ||
      suite === spec.suite ||
      what?.test(spec.what) === true,
  );
  return notOurs?.reason ?? (labels.includes("Slow") ? "slow" : undefined);
}

/** The first of each suite, then the second of each, ...; within a suite, new patterns first. */
function inTurns(specs: readonly Spec[]): readonly Spec[] {
  const suites = new Map<string, Spec[]>();
  for (const spec of specs.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))) {
    suites.set(spec.suite, [...(suites.get(spec.suite) ?? []), spec]);
  }
  const columns = [...suites.values()].map((column) => newPatternsFirst(column));
  const rows = Math.max(0, ...columns.map(({ length }) => length));
  const turns = Array.from({ length: rows }, (_, row) =>
    columns.flatMap((column) => column.slice(row, row + 1)),
  );
  // Those that need the cluster for themselves come last, or they would hold up all others.
  const all = turns.flat();
  return [...all.filter(({ isAlone }) => !isAlone), ...all.filter(({ isAlone }) => isAlone)];
}

function newPatternsFirst(specs: readonly Spec[]): readonly Spec[] {
  const seen = new Map<string, number>();
  const ranked = specs.map((spec) => {
    const rank = seen.get(spec.pattern) ?? 0;
    seen.set(spec.pattern, rank + 1);
    return { spec, rank };
  });
  return ranked.toSorted((a, b) => a.rank - b.rank).map(({ spec }) => spec);
}
