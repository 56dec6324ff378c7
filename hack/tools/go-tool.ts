// Builds programs from pinned Go modules, once: hack/tools/MODULE/go.mod names them in its `tool`
// lines. The binaries lie in the cache, under the hash of go.sum, so another version is another
// file. A name that ends in `.test` stands for the tests of the package before it.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { cache, checkout } from "../places.ts";
import { outputOf } from "../program.ts";

/** A first build on two busy cores, with every module still to come. */
const BUILD_TIMEOUT_MS = 3_600_000;

/** Two that build at once would halve each other: the second waits, and finds Go's cache full. */
const BUILD = `
set -e
exec 9>"$1"
flock 9
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
programs=() tests=()
for package in "\${@:4}"; do
  case $package in
    *.test) tests+=("\${package%.test}") ;;
    *) programs+=("$package") ;;
  esac
done
[ \${#programs[@]} = 0 ] || nice go build -trimpath -ldflags "$2" -o "$3/" "\${programs[@]}"
for package in "\${tests[@]}"; do
  nice go test -c -trimpath -ldflags "$2" -o "$3/" "$package"
done
`;

/** The path of the only program of a module of that name. */
export async function goTool(name: string): Promise<string> {
  return (await goTools(name, [name]))(name);
}

/** Tells the path of each of these programs of one module; those that are missing are built. */
export async function goTools<Name extends string>(
  module: string,
  names: readonly Name[],
): Promise<(name: Name) => string> {
  const folder = join(checkout, "hack", "tools", module);
  const sum = readFileSync(join(folder, "go.sum"));
  const hash = createHash("sha256").update(sum).digest("hex").slice(0, 16);
  const bin = join(cache, "bin");
  const pathOf = (name: string) => join(bin, `${name}-${hash}`);
  const missing = names.filter((name) => !existsSync(pathOf(name)));
  if (missing.length > 0) {
    const modFile = readFileSync(join(folder, "go.mod"), "utf8");
    mkdirSync(bin, { recursive: true });
    const built = mkdtempSync(join(bin, "new-"));
    try {
      console.error(`building ${missing.join(", ")}`);
      const lock = join(bin, `${module}.lock`);
      const packages = missing.map((name) => packageOf(modFile, name));
      const build = [lock, linkerFlags(modFile), built, ...packages];
      await outputOf(["bash", "-c", BUILD, "bash", ...build], {
        timeoutMs: BUILD_TIMEOUT_MS,
        cwd: folder,
      });
      for (const path of packages) renameSync(join(built, basename(path)), pathOf(basename(path)));
    } finally {
      rmSync(built, { recursive: true });
    }
  }
  return pathOf;
}

/** The package of the `tool` line whose last word is the name; with `.test` as the name has it. */
function packageOf(modFile: string, name: string): string {
  const [program = "", test = ""] = name.split(/(\.test)$/u);
  const lines = modFile.match(/^(?:tool |\t)\S+$/gmu) ?? [];
  const found = lines.map((line) => line.replace(/^tool|\s/gu, ""));
  const path = found.find((path) => basename(path) === program);
  if (path === undefined) throw new Error(`No go.mod in hack/tools names the program ${name}.`);
  return `${path}${test}`;
}

/** Kubernetes' programs would say that they are v0.0.0, and kubectl would not like it. */
function linkerFlags(modFile: string): string {
  const version = /k8s\.io\/kubernetes v(\d+)\.(\d+)\S*/u.exec(modFile);
  const small = "-s -w";
  if (version === null) return small;
  const [line, major, minor] = version;
  const set = (name: string, value = "") => `-X k8s.io/component-base/version.${name}=${value}`;
  const gitVersion = set("gitVersion", line.split(" ")[1]);
  return [small, gitVersion, set("gitMajor", major), set("gitMinor", minor)].join(" ");
}
