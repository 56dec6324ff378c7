// The lint rules, and the borders between the parts of Weir: what each may import, and the few
// files that alone may reach for time, chance, the environment, S3 or the native addon.
// hack/borders.test.ts plants a violation of each and expects it to be found.
import { defineConfig, type DummyRuleMap } from "oxlint";

const parts: readonly string[] = [
  "runtime",
  "store",
  "log",
  "kube",
  "csi",
  "crds",
  "operator",
  "csi-node",
  "hack",
  "test",
];

/**
 * Each part, and what it may import of the others; the standard tests beside it may import more.
 */
const borders = {
  "core/runtime": ["runtime"],
  "core/store": ["store", "runtime"],
  "core/log": ["log", "runtime", "store/object-store.ts"],
  "core/kube": ["kube", "runtime"],
  "core/csi": ["csi", "runtime"],
  crds: ["crds", "runtime", "kube/kind.ts"],
  operator: ["operator", "crds", "runtime", "store", "log", "kube", "csi"],
  "csi-node": ["csi-node", "crds", "runtime", "store", "log", "kube", "csi"],
} as const;

const s3Client = {
  group: ["@aws-sdk/*", "@smithy/*"],
  message: "Only core/store/s3-store.ts talks to S3.",
};
const timers = {
  group: ["timers", "timers/*", "node:timers", "node:timers/*", "perf_hooks", "node:perf_hooks"],
  message: "Take a Clock (core/runtime/ports.ts).",
};
const chance = {
  group: ["crypto", "node:crypto"],
  importNames: ["randomUUID", "randomBytes", "randomInt", "getRandomValues", "randomFillSync"],
  message: "Take a Random (core/runtime/ports.ts).",
};

const nativeAddon = {
  group: ["module", "node:module"],
  importNames: ["createRequire"],
  message: "Only csi-node/engine/native.ts loads the addon.",
};

const aboveHandoff = {
  group: ["**/control/**", "**/cli/**"],
  message: "csi-node/handoff is used by control and cli, and imports neither.",
};

/** Forbids imports of every part, and of every file of a part, that is not allowed. */
function border(part: string, allowed: readonly string[]) {
  const forbidden = parts.filter((other) => !allowed.includes(other));
  return {
    group: [
      ...forbidden.map((other) => `**/${other}/**`),
      ...allowed.filter((path) => path.endsWith(".ts")).map((path) => `!**/${path}`),
    ],
    message: `${part} imports only: ${allowed.join(", ")}.`,
  };
}

type ImportPattern = { group: string[]; importNames?: string[]; message: string };

function imports(...patterns: ImportPattern[]): DummyRuleMap {
  return { "no-restricted-imports": ["error", { patterns }] };
}

const production = ["core/**/*.ts", "crds/**/*.ts", "operator/**/*.ts", "csi-node/**/*.ts"];
const tests = ["**/*.test.ts", "test/**/*.ts", "hack/**/*.ts", "*.config.ts"];

const portsOnly: DummyRuleMap = {
  "node/no-process-env": "error",
  "no-restricted-globals": [
    "error",
    ...["Date", "setTimeout", "setInterval", "setImmediate", "performance"].map((name) => ({
      name,
      message: "Take a Clock (core/runtime/ports.ts).",
    })),
  ],
  "no-restricted-properties": [
    "error",
    { object: "AbortSignal", property: "timeout", message: "Take a Clock: clock.deadline()." },
    { object: "process", property: "hrtime", message: "Take a Clock: clock.monotonicMs()." },
    ...["randomUUID", "getRandomValues", "randomBytes"].map((property) => ({
      object: "crypto",
      property,
      message: "Take a Random (core/runtime/ports.ts).",
    })),
    { object: "Math", property: "random", message: "Take a Random (core/runtime/ports.ts)." },
    { object: "process", property: "dlopen", message: "Only csi-node/engine/native.ts loads it." },
  ],
};

export default defineConfig({
  plugins: ["eslint", "typescript", "unicorn", "oxc", "import", "node", "vitest"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  rules: {
    "import/no-cycle": "error",
    "import/no-default-export": "error",
    "oxc/no-barrel-file": ["error", { threshold: 0 }],
    "no-console": "error",
    eqeqeq: "error",
    "max-lines": ["error", { max: 500 }],
    "max-lines-per-function": ["error", { max: 70 }],
    "max-params": ["error", { max: 4 }],
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/only-throw-error": "error",
    "typescript/switch-exhaustiveness-check": "error",
    "typescript/consistent-type-assertions": ["error", { assertionStyle: "never" }],
    "vitest/no-focused-tests": "error",
    "vitest/no-disabled-tests": "error",
    "vitest/expect-expect": ["error", { assertFunctionNames: ["expect*", "fc.assert"] }],
    // The second argument is the message that a failure shows; helpers of tests assert, too.
    "vitest/valid-expect": ["error", { maxArgs: 2 }],
    "vitest/no-standalone-expect": "off",
    "oxc/no-map-spread": "off",
    // One request after the other is often the point.
    "no-await-in-loop": "off",
    // A small helper reads best beside its only caller; a name may be used again further in.
    "unicorn/consistent-function-scoping": "off",
    "no-shadow": "off",
    "no-underscore-dangle": "off",
    // An option and its value stay together as a spread pair in a command line.
    "unicorn/no-useless-spread": "off",
  },
  overrides: [
    { files: production, rules: portsOnly },
    ...Object.entries(borders).map(([part, allowed]) => ({
      files: [`${part}/**/*.ts`],
      rules: imports(s3Client, timers, chance, nativeAddon, border(part, allowed)),
    })),
    {
      files: ["csi-node/handoff/**/*.ts"],
      rules: imports(
        ...[s3Client, timers, chance, nativeAddon, aboveHandoff],
        border("csi-node", borders["csi-node"]),
      ),
    },
    {
      files: ["core/store/s3-store.ts"],
      rules: imports(...[timers, chance, nativeAddon], border("core/store", borders["core/store"])),
    },
    {
      files: ["csi-node/engine/native.ts"],
      rules: imports(s3Client, timers, chance, border("csi-node", borders["csi-node"])),
    },
    {
      files: ["core/runtime/**/*.ts"],
      rules: {
        ...imports(...[s3Client, nativeAddon], border("core/runtime", borders["core/runtime"])),
        "no-restricted-globals": "off",
        "no-restricted-properties": "off",
      },
    },
    {
      // Brand constructors are where a checked value gets its type.
      files: ["core/runtime/ids.ts", "csi-node/engine/native.ts"],
      rules: {
        "typescript/consistent-type-assertions": "off",
        "typescript/no-unsafe-type-assertion": "off",
      },
    },
    {
      files: [
        ...["csi-node/**/config.ts", "operator/**/config.ts"],
        ...["core/store/open-store.ts", "core/kube/kube-config.ts"],
      ],
      rules: { "node/no-process-env": "off" },
    },
    {
      files: tests,
      rules: {
        "no-restricted-imports": "off",
        "no-restricted-globals": "off",
        "no-restricted-properties": "off",
        "node/no-process-env": "off",
        "max-lines-per-function": "off",
      },
    },
    {
      files: ["hack/**", "test/**", "csi-node/cli/**", "charts/**"],
      rules: { "no-console": "off" },
    },
    { files: ["*.config.ts"], rules: { "import/no-default-export": "off" } },
  ],
});
