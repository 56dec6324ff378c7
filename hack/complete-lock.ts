// Completes package-lock.json after `npm install`: npm leaves out the optional builds for other
// platforms when a registry does not serve them, and `npm ci` then refuses the lock file it wrote
// itself. Each missing one gets an entry that no machine we build on would install.
//   npm install && bash hack/run complete-lock
import { readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { outputOf } from "./program.ts";

const lockFile = new URL("../package-lock.json", import.meta.url);
const Lock = z.looseObject({
  packages: z.record(
    z.string(),
    z.looseObject({
      version: z.string().optional(),
      dev: z.boolean().optional(),
      optionalDependencies: z.record(z.string(), z.string()).optional(),
    }),
  ),
});

const lock = Lock.parse(JSON.parse(readFileSync(lockFile, "utf8")));
let added = 0;
for (const owner of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(owner.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key] === undefined) {
      lock.packages[key] = {
        version,
        ...platformOf(name),
        ...(owner.dev === true ? { dev: true } : {}),
        optional: true,
      };
      added += 1;
    }
  }
}
writeFileSync(lockFile, JSON.stringify(lock));
// npm puts its file into its own order.
await outputOf(["npm", "install", "--package-lock-only", "--ignore-scripts"], {
  timeoutMs: 300_000,
});
console.log(`${added} optional packages added to package-lock.json`);

/** What npm compares with the machine, read from a name like `@oxfmt/binding-linux-x64-musl`. */
function platformOf(name: string): { cpu: string[]; os?: string[]; libc?: string[] } {
  const words = name.split(/[/-]/u);
  const known = ["x64", "arm64", "arm", "ia32", "ppc64", "riscv64", "s390x", "wasm32", "loong64"];
  const cpu = known.find((word) => words.includes(word));
  const systems = ["linux", "darwin", "win32", "freebsd", "android", "openharmony"];
  const os = systems.find((word) => words.includes(word));
  if (cpu === undefined || (cpu === "x64" && os === "linux" && !words.includes("musl"))) {
    throw new Error(
      `${name} is missing from the lock file and looks like a build for this machine.`,
    );
  }
  return {
    cpu: [cpu],
    ...(os === undefined ? {} : { os: [os] }),
    ...(words.includes("musl") ? { libc: ["musl"] } : {}),
  };
}
