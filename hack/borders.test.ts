// Goal: the lint rules that keep the parts of Weir apart do fire. Method: plant one violation of
// each in a copy of the tree's outline, run oxlint with the real configuration, and expect exactly
// that rule at that file; and none at files that do what is allowed.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { checkout, nodeFolder } from "./places.ts";

interface Plant {
  readonly file: string;
  readonly text: string;
  /** Part of the rule's name; undefined when the file is fine. */
  readonly rule: string | undefined;
}

const imported = (path: string) => `import { x } from "${path}";\nexport const y = x;\n`;
const imports = "no-restricted-imports";
// In two halves, so that nobody takes it for a focused test of this file.
const focused = ["test.", 'only("x", () => undefined);\n'].join("");

const plants: readonly Plant[] = [
  { file: "core/runtime/a.ts", text: imported("../store/a.ts"), rule: imports },
  { file: "core/store/b.ts", text: imported("../log/a.ts"), rule: imports },
  { file: "core/store/c.ts", text: imported("../runtime/ids.ts"), rule: undefined },
  { file: "core/log/d.ts", text: imported("../store/open-store.ts"), rule: imports },
  { file: "core/log/e.ts", text: imported("../store/object-store.ts"), rule: undefined },
  { file: "core/log/f.ts", text: imported("../../csi-node/engine/a.ts"), rule: imports },
  { file: "core/kube/a.ts", text: imported("../store/object-store.ts"), rule: imports },
  { file: "core/kube/b.ts", text: imported("../../crds/volume.ts"), rule: imports },
  { file: "core/kube/c.ts", text: imported("../runtime/ports.ts"), rule: undefined },
  { file: "core/log/k.ts", text: imported("../kube/kube-api.ts"), rule: imports },
  { file: "operator/d.ts", text: imported("../core/kube/reflector.ts"), rule: undefined },
  { file: "core/csi/a.ts", text: imported("../kube/kube-api.ts"), rule: imports },
  { file: "core/csi/b.ts", text: imported("../runtime/errors.ts"), rule: undefined },
  { file: "core/kube/a.ts", text: imported("../csi/serve.ts"), rule: imports },
  { file: "csi-node/csi/a.ts", text: imported("../../core/csi/serve.ts"), rule: undefined },
  { file: "operator/csi/a.ts", text: imported("../../csi-node/csi/a.ts"), rule: imports },
  { file: "operator/a.ts", text: imported("../csi-node/engine/a.ts"), rule: imports },
  { file: "operator/deep/b.ts", text: imported("../../csi-node/a.ts"), rule: imports },
  { file: "csi-node/engine/a.ts", text: imported("../../operator/a.ts"), rule: imports },
  { file: "csi-node/engine/b.ts", text: imported("../../test/support/a.ts"), rule: imports },
  { file: "csi-node/engine/c.ts", text: imported("../../core/log/keys.ts"), rule: undefined },
  { file: "csi-node/handoff/a.ts", text: imported("../control/a.ts"), rule: imports },
  { file: "csi-node/handoff/b.ts", text: imported("../../operator/a.ts"), rule: imports },
  { file: "csi-node/handoff/c.ts", text: imported("../engine/x.ts"), rule: undefined },
  { file: "csi-node/engine/d.ts", text: imported("@aws-sdk/client-s3"), rule: imports },
  { file: "core/store/g.ts", text: imported("@aws-sdk/client-s3"), rule: imports },
  { file: "core/store/s3-store.ts", text: imported("@aws-sdk/client-s3"), rule: undefined },
  { file: "core/log/h.ts", text: imported("node:timers/promises"), rule: imports },
  {
    file: "core/log/i.ts",
    text: 'import { randomUUID } from "node:crypto";\nexport const y = randomUUID();\n',
    rule: imports,
  },
  {
    file: "core/log/j.ts",
    text: 'import { createHash } from "node:crypto";\nexport const y = createHash("sha256");\n',
    rule: undefined,
  },
  { file: "csi-node/e.ts", text: "export const y = Date.now();\n", rule: "no-restricted-globals" },
  {
    file: "csi-node/f.ts",
    text: "export const y = () => setTimeout(() => undefined, 1);\n",
    rule: "no-restricted-globals",
  },
  {
    file: "csi-node/g.ts",
    text: "export const y = AbortSignal.timeout(1);\n",
    rule: "no-restricted-properties",
  },
  {
    file: "csi-node/h.ts",
    text: "export const y = Math.random();\n",
    rule: "no-restricted-properties",
  },
  {
    file: "csi-node/i.ts",
    text: "export const y = crypto.randomUUID();\n",
    rule: "no-restricted-properties",
  },
  { file: "core/runtime/real.ts", text: "export const y = Date.now();\n", rule: undefined },
  { file: "csi-node/j.ts", text: "export const y = process.env;\n", rule: "no-process-env" },
  { file: "csi-node/cli/config.ts", text: "export const y = process.env;\n", rule: undefined },
  { file: "csi-node/k.ts", text: "console.log(1);\n", rule: "no-console" },
  { file: "csi-node/cli/l.ts", text: "console.log(1);\n", rule: undefined },
  { file: "csi-node/m.ts", text: "export default 1;\n", rule: "no-default-export" },
  { file: "csi-node/n.ts", text: 'export * from "./m.ts";\n', rule: "no-barrel-file" },
  { file: "csi-node/o.ts", text: imported("./p.ts").replace("y", "z"), rule: "no-cycle" },
  {
    file: "csi-node/p.ts",
    text: 'import { z } from "./o.ts";\nexport const x = z;\n',
    rule: "no-cycle",
  },
  {
    file: "csi-node/q.ts",
    text: "export const y = (): void => {\n  Promise.resolve(1);\n};\n",
    rule: "no-floating-promises",
  },
  {
    file: "csi-node/r.ts",
    text: "export const y = (v: unknown): string => v as string;\n",
    rule: "consistent-type-assertions",
  },
  {
    file: "csi-node/s.ts",
    text: "export const y = (v?: string): string => v!;\n",
    rule: "no-non-null-assertion",
  },
  {
    file: "csi-node/t.ts",
    text: 'import { createRequire } from "node:module";\nexport const y = createRequire("/");\n',
    rule: imports,
  },
  {
    file: "csi-node/engine/native.ts",
    text: 'import { createRequire } from "node:module";\nexport const y = createRequire("/");\n',
    rule: undefined,
  },
  {
    file: "csi-node/u.test.ts",
    text: `import { test } from "vitest";\n${focused}`,
    rule: "no-focused-tests",
  },
];

const Report = z.object({
  diagnostics: z.array(z.object({ code: z.string().optional(), filename: z.string() })),
});
const root = mkdtempSync(join(tmpdir(), "weir-borders-"));
const rulesOf = new Map<string, string[]>();

beforeAll(() => {
  for (const name of ["oxlint.config.ts", "tsconfig.json", "package.json"]) {
    cpSync(join(checkout, name), join(root, name));
  }
  symlinkSync(join(checkout, "node_modules"), join(root, "node_modules"));
  for (const plant of plants) {
    mkdirSync(dirname(join(root, plant.file)), { recursive: true });
    writeFileSync(join(root, plant.file), plant.text);
  }
  const oxlint = join(checkout, "node_modules/oxlint/bin/oxlint");
  const node = join(nodeFolder, "bin/node");
  const report = Report.parse(JSON.parse(outputEvenIfItFails(node, oxlint)));
  for (const { filename, code } of report.diagnostics) {
    rulesOf.set(filename, [...(rulesOf.get(filename) ?? []), code ?? ""]);
  }
});

afterAll(() => {
  rmSync(root, { recursive: true });
});

const violations = plants.filter((plant) => plant.rule !== undefined);
const innocents = plants.filter((plant) => plant.rule === undefined);

test.each(violations)("$file breaks $rule", ({ file, rule }) => {
  expect(rulesOf.get(file)?.join()).toContain(rule);
});

test.each(innocents)("$file is fine", ({ file }) => {
  expect(rulesOf.get(file)).toBeUndefined();
});

/** oxlint exits with 1 when it finds something, which it must here. */
function outputEvenIfItFails(node: string, oxlint: string): string {
  try {
    return execFileSync(
      node,
      [oxlint, "--type-aware", "-f", "json", "core", "csi-node", "operator"],
      {
        cwd: root,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
  } catch (error) {
    return z.object({ stdout: z.string() }).parse(error).stdout;
  }
}
