// What tidy.ts looks for in one file. oxlint already bounds TypeScript functions and finds focused
// tests, so functions are only measured in C++ here.
import { dirname } from "node:path";

interface SourceFile {
  /** Relative to the checkout. */
  readonly path: string;
  readonly text: string;
  /** Whose parent folder must not be named anywhere. */
  readonly checkout: string;
}

const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 100;

const code = /\.(?:ts|cc|h|sh|mjs)$/u;
const cpp = /\.(?:cc|h)$/u;
/** Where our words count; core/kube, the operator and the chart speak Kubernetes' language too. */
const parts = /^(?:core(?!\/kube\/)|csi-node|native)\//u;
/** Without those who speak of a node's owner (csi-node/handoff/PROTOCOL.md). */
const partsButHandoff =
  /^(?!.*handoff|csi-node\/(?:cli|control)\/)(?:core(?!\/kube\/)|csi-node|native)\//u;
const needsHead = /(?:\.ts|\.h|_test\.cc)$/u;

/** A pattern that must not occur on any line of the files whose path matches. */
const bannedOnLines: readonly { in: RegExp; pattern: RegExp; why: string }[] = [
  {
    in: partsButHandoff,
    pattern: /(?<!metadata\.)\bgenerations?\b/iu,
    why: "say epoch: `generation` belongs to Kubernetes",
  },
  { in: parts, pattern: /\bWAL\b/u, why: "say journal" },
  {
    in: parts,
    pattern: /\b(?:(?:a|the|each|every|per|this) pack|packfiles?)\b/iu,
    why: "say segment",
  },
  {
    in: parts,
    pattern: /\bfork(?:s|ed)?\b(?!\()/iu,
    why: "say clone",
  },
  {
    in: code,
    pattern: /\b(?:TO[D]O|FIX[M]E|XX[X])\b(?!\(#\d+\))/u,
    why: "needs the number of an issue: TODO(#12)",
  },
  {
    in: /\.ts$/u,
    pattern: /\b(?:it|test|describe)\.(?:skip|todo|only)\b/u,
    why: "a test runs or is deleted",
  },
  { in: cpp, pattern: /\b(?:GTEST_SKIP\b|DISABLED_)/u, why: "a test runs or is deleted" },
  {
    in: /./u,
    pattern: /\/\/(?:registry\.npmjs|deb\.debian|security\.debian|pypi|files\.pythonhosted)\.org/u,
    why: "names a package registry: leave that to the machine's configuration",
  },
];

/** One line of text for each place that breaks a rule. */
export function untidyPlaces(file: SourceFile): string[] {
  const lines = file.text.split("\n");
  return [
    ...(code.test(file.path) ? sizeOf(file, lines) : []),
    ...(cpp.test(file.path) ? longFunctions(file, lines) : []),
    ...(file.path.endsWith(".md") ? titles(file, lines) : []),
    ...(needsHead.test(file.path) && !/^(?:\/\/|\/\*|#!)/u.test(file.text)
      ? [`${file.path}:1: begins without a comment that says what it is for`]
      : []),
    ...lines.flatMap((line, index) => bannedIn(file, line, index + 1)),
  ];
}

function sizeOf(file: SourceFile, lines: readonly string[]): string[] {
  const tooLong = lines.length - 1 > MAX_FILE_LINES;
  return [
    ...(tooLong ? [`${file.path}: ${lines.length - 1} lines, at most ${MAX_FILE_LINES}`] : []),
    ...lines.flatMap((line, index) =>
      line.length > MAX_COLUMNS
        ? [`${file.path}:${index + 1}: ${line.length} columns, at most ${MAX_COLUMNS}`]
        : [],
    ),
  ];
}

/** Relies on clang-format: a definition ends with the first `}` as far in as its first line. */
function longFunctions(file: SourceFile, lines: readonly string[]): string[] {
  const notFunction =
    /^\s*(?:[{}[]|(?:if|for|while|switch|else|do|namespace|class|struct|enum|union)\b)/u;
  return lines.flatMap((line, brace) => {
    const begin = statementBegin(lines, brace);
    const first = lines[begin] ?? "";
    if (!/\).*\{$/u.test(line) || notFunction.test(first)) {
      return [];
    }
    const indent = /^ */u.exec(first)?.[0] ?? "";
    const end = lines.findIndex((other, index) => index > brace && other.startsWith(`${indent}}`));
    const length = end - begin + 1;
    return length > MAX_FUNCTION_LINES
      ? [`${file.path}:${begin + 1}: function of ${length} lines, at most ${MAX_FUNCTION_LINES}`]
      : [];
  });
}

/**
 * The first line of what ends at `last`: parameters and initializers may stand on lines between.
 */
function statementBegin(lines: readonly string[], last: number): number {
  let begin = last;
  while (begin > 0 && /[^;{}:\s]\s*$/u.test(lines[begin - 1] ?? "")) {
    begin -= 1;
    if (/^\s*(?:\/\/|#)/u.test(lines[begin] ?? "")) {
      return begin + 1;
    }
  }
  return begin;
}

function titles(file: SourceFile, lines: readonly string[]): string[] {
  let inCode = false;
  const found = lines.filter((line) => {
    inCode = line.startsWith("```") ? !inCode : inCode;
    return !inCode && line.startsWith("# ");
  });
  return found.length === 1 ? [] : [`${file.path}: ${found.length} titles (\`# \`), exactly one`];
}

function bannedIn(file: SourceFile, line: string, number: number): string[] {
  const place = `${file.path}:${number}`;
  const banned = bannedOnLines.filter((ban) => ban.in.test(file.path) && ban.pattern.test(line));
  const above = dirname(file.checkout);
  const namesMachine = above !== "/" && line.includes(`${above}/`);
  const namesHome = /(?<![\w.}])\/(?:home\/\w+|root)\/\w/u.test(line);
  return [
    ...banned.map((ban) => `${place}: ${ban.why}`),
    ...(namesMachine || namesHome ? [`${place}: a path of one machine`] : []),
  ];
}
