// Weir's own image, from the Dockerfile, without a container engine and without network: buildah
// copies the built tree onto a base that mmdebstrap made.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempDisposableSync, readdirSync, readFileSync } from "node:fs";
import { readlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { buildNative } from "../native-build.ts";
import { cache, checkout } from "../places.ts";
import { outputOf } from "../program.ts";
import { keepFile } from "./image-cache.ts";
import { images } from "./image-names.ts";

const BUILD_TIMEOUT_MS = 900_000;
const dockerfile = join(checkout, "Dockerfile");
/** buildah's own images, kept so that the next build copies no base. */
const workshop = join(cache, "buildah");

export async function weirArchive(): Promise<string> {
  if (!(await buildNative("release", "inherit"))) throw new Error("The native build failed.");
  using temporary = mkdtempDisposableSync(join(tmpdir(), "weir-image-"));
  const tree = join(temporary.path, "tree");
  await outputOf(["node", join(checkout, "hack/image-tree.ts"), tree]);
  const base = await baseArchive();
  const hash = createHash("sha256").update(readFileSync(dockerfile)).update(base);
  const path = await keepFile({
    name: "weir",
    key: hashTree(tree, hash).digest("hex"),
    make: (target) => build({ base, tree, target }),
  });
  return path;
}

async function build(paths: { base: string; tree: string; target: string }): Promise<void> {
  mkdirSync(workshop, { recursive: true });
  const storage = join(workshop, "storage");
  const settings = `driver = "overlay"\ngraphroot = "${storage}"\nrunroot = "${storage}-run"\n`;
  writeFileSync(join(workshop, "storage.conf"), `[storage]\n${settings}`);
  const { base, tree, target } = paths;
  const args = [base, `localhost/${basename(base)}`, dockerfile, tree, target, images.weir];
  await outputOf(["flock", workshop, "bash", "-euc", BUILD, "bash", ...args], {
    env: {
      BUILDAH_ISOLATION: "chroot",
      CONTAINERS_STORAGE_CONF: join(workshop, "storage.conf"),
      STORAGE_DRIVER: "overlay",
    },
    timeoutMs: BUILD_TIMEOUT_MS,
    cwd: workshop,
  });
}

/** Images of earlier builds go at the end; the base and its layers stay while the base is used. */
const BUILD = `
base=$1 name=$2 dockerfile=$3 tree=$4 target=$5 reference=$6
if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
  buildah rmi --all --force >/dev/null 2>&1 || true
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$base"
  buildah commit --quiet --rm "$container" "$name"
fi
set -- --layers --target prebuilt --build-arg "BASE=$name"
buildah bud "$@" -f "$dockerfile" -t "$reference" "$tree"
buildah push --quiet "$reference" "docker-archive:$target:$reference"
buildah rmi --prune >/dev/null
`;

/** A Debian with what the Dockerfile's PACKAGES names, so that its build needs no network. */
async function baseArchive(): Promise<string> {
  const packages = /^ARG PACKAGES="([^"]+)"/mu.exec(readFileSync(dockerfile, "utf8"))?.[1];
  if (packages === undefined) throw new Error("The Dockerfile has no ARG PACKAGES.");
  return keepFile({
    name: "base",
    key: createHash("sha256").update(packages).digest("hex"),
    async make(target) {
      const include = `--include=${packages.replaceAll(" ", ",")}`;
      const options = ["--variant=minbase", "--format=tar", include];
      await outputOf(["mmdebstrap", "--quiet", ...options, "bookworm", target], {
        timeoutMs: BUILD_TIMEOUT_MS,
      });
    },
  });
}

function hashTree(tree: string, hash: ReturnType<typeof createHash>) {
  const entries = readdirSync(tree, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => ({ entry, path: join(entry.parentPath, entry.name) }));
  for (const { entry, path } of paths.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    hash.update(`${relative(tree, path)}\n`);
    if (entry.isSymbolicLink()) hash.update(readlinkSync(path));
    if (entry.isFile()) hash.update(readFileSync(path));
  }
  return hash;
}
