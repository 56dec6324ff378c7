// Writes a container image of a few static programs as a docker-archive: a tar file of a manifest,
// a configuration and one layer. No engine and no base image is needed for that. Equal contents
// give equal bytes.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

export interface SmallImage {
  readonly reference: string;
  /** More names of the same image. */
  readonly aliases?: readonly string[];
  /** Path in the image, and either the program's file here or where a symbolic link points. */
  readonly files: readonly ImageFile[];
  readonly entrypoint: readonly string[];
  readonly command?: readonly string[];
}

type ImageFile =
  | { readonly path: string; readonly source: string }
  | { readonly path: string; readonly linkTo: string };

const BLOCK = 512;

export function writeDockerArchive(image: SmallImage, target: string): void {
  const layer = tar([
    ...["bin", "dev", "etc", "proc", "sys", "tmp"].map((path) => ({ path: `${path}/` })),
    ...image.files.map((file) =>
      "linkTo" in file ? file : { path: file.path, body: readFileSync(file.source), mode: 0o755 },
    ),
  ]);
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    created: "1970-01-01T00:00:00Z",
    config: {
      Entrypoint: image.entrypoint,
      ...(image.command === undefined ? {} : { Cmd: image.command }),
      Env: ["PATH=/bin"],
    },
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: "1970-01-01T00:00:00Z" }],
  });
  const configPath = `${sha256(Buffer.from(config))}.json`;
  const names = [image.reference, ...(image.aliases ?? [])];
  const manifest = [{ Config: configPath, RepoTags: names, Layers: ["layer.tar"] }];
  const archive = tar([
    { path: "manifest.json", body: Buffer.from(JSON.stringify(manifest)) },
    { path: configPath, body: Buffer.from(config) },
    { path: "layer.tar", body: layer },
  ]);
  writeFileSync(target, archive);
}

interface TarEntry {
  readonly path: string;
  readonly body?: Buffer;
  readonly linkTo?: string;
  readonly mode?: number;
}

function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const { body = Buffer.alloc(0) } = entry;
    return [header(entry, body.length), body, Buffer.alloc(-body.length & (BLOCK - 1))];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

/** A `ustar` header. Its sum is taken with spaces in the place of the sum. */
function header({ path, linkTo, mode }: TarEntry, sizeBytes: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const folder = path.endsWith("/");
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, "0")}\0`;
  block.write(path, 0, 100);
  block.write(octal(mode ?? (folder ? 0o755 : 0o644), 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(sizeBytes, 11), 124);
  block.write(octal(0, 11), 136);
  block.write(" ".repeat(8), 148);
  block.write(linkTo === undefined ? (folder ? "5" : "0") : "2", 156);
  block.write(linkTo ?? "", 157, 100);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)} `, 148);
  return block;
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
