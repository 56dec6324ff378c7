// The images of the cluster as docker-archives in the cache, made without a container engine: small
// ones of a few programs, and Weir's own.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { outputOf } from "../program.ts";
import { goTools } from "../tools/go-tool.ts";
import { findKernel } from "../vm/kernels.ts";
import { writeDockerArchive, type SmallImage } from "./docker-archive.ts";
import { keepFile } from "./image-cache.ts";
import { images, busyboxAliases, type ImageName } from "./image-names.ts";
import { weirArchive } from "./weir-image.ts";

/** Makes what is missing; returns the archives' paths, which name their contents. */
export async function imageArchives(): Promise<readonly string[]> {
  const small = await smallImages();
  const paths = await Promise.all(small.map(({ name, image }) => archived(name, image)));
  return [...paths, await weirArchive()];
}

const sidecars = [
  "csi-provisioner",
  "csi-attacher",
  "csi-resizer",
  "csi-snapshotter",
  "snapshot-controller",
] as const;

async function smallImages(): Promise<readonly { name: ImageName; image: SmallImage }[]> {
  const program = await goTools("kubernetes", [...sidecars, "agnhost"]);
  const files = await busyboxFiles();
  const shell = files.slice(0, 1);
  const sleep = ["/bin/busybox", "sleep", "2147483647"];
  return [
    { name: "pause", image: { reference: images.pause, files: shell, entrypoint: sleep } },
    {
      name: "busybox",
      image: {
        reference: images.busybox,
        aliases: busyboxAliases,
        files,
        entrypoint: [],
        command: ["/bin/sh"],
      },
    },
    {
      name: "agnhost",
      image: {
        reference: images.agnhost,
        files: [...files, { path: "agnhost", source: program("agnhost") }],
        entrypoint: ["/agnhost"],
        command: ["pause"],
      },
    },
    {
      name: "fio",
      image: {
        reference: images.fio,
        files: [...files, ...(await installedProgram("fio"))],
        entrypoint: [],
        command: ["/bin/sh"],
      },
    },
    ...sidecars.map((name) => ({
      name,
      image: {
        reference: images[name],
        files: [{ path: name, source: program(name) }],
        entrypoint: [`/${name}`],
      },
    })),
  ];
}

/** busybox of the guests' kernel packages, and a link for each of its commands. */
async function busyboxFiles(): Promise<SmallImage["files"]> {
  const { moduleRoot } = await findKernel("7.2");
  const busybox = join(moduleRoot, "bin/busybox");
  const applets = (await outputOf([busybox, "--list"])).split("\n").filter((name) => name !== "");
  const links = applets
    .filter((name) => name !== "busybox")
    .map((name) => ({ path: `bin/${name}`, linkTo: "busybox" }));
  return [{ path: "bin/busybox", source: busybox }, ...links];
}

/** A program of this machine in `bin`, and what it is linked with where its loader looks for it. */
async function installedProgram(name: string): Promise<SmallImage["files"]> {
  const program = (await outputOf(["which", name])).trim();
  // The loader's own line has a path only: `/lib64/ld-linux-x86-64.so.2 (0x…)`.
  const linked = (await outputOf(["ldd", program])).matchAll(/(\/\S+) \(0x/gu);
  const libraries = Array.from(linked, ([, path = ""]) => path).toSorted();
  return [
    { path: `bin/${name}`, source: program },
    ...libraries.map((path) => ({ path: path.slice(1), source: path })),
  ];
}

/** Made when it is not there yet; the path names its contents. */
async function archived(name: ImageName, image: SmallImage): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(image));
  for (const file of image.files) if ("source" in file) hash.update(readFileSync(file.source));
  const key = hash.digest("hex");
  return keepFile({ name, key, make: async (target) => writeDockerArchive(image, target) });
}
