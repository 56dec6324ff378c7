// Fetches Debian packages of other suites than the machine's, unpacked into the cache; nothing is
// installed and the machine's own package sources stay as they are: apt gets a configuration, lists
// and a cache of its own, on the mirror that the machine uses.
import { existsSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cache } from "../places.ts";
import { outputOf } from "../program.ts";

export interface PackageFetch {
  readonly suites: readonly string[];
  /** Of package names; the newest match of each is taken. */
  readonly patterns: readonly string[];
  /** The folder in the cache; holds `complete` once all is there. */
  readonly target: string;
}

/** Does nothing when they are there. `finish` works on what was unpacked, before it is in place. */
export async function fetchPackages(
  fetch: PackageFetch,
  finish: (unpacked: string) => Promise<void> = async () => undefined,
): Promise<void> {
  if (existsSync(join(fetch.target, "complete"))) {
    return;
  }
  console.error(`fetching Debian packages for ${fetch.target}`);
  mkdirSync(dirname(fetch.target), { recursive: true });
  // In a folder of its own, then renamed: another process may be doing the same; the first wins.
  const folder = mkdtempSync(join(cache, "fetch-"));
  try {
    const apt = await privateApt(folder, fetch.suites);
    const unpacked = join(folder, "unpacked");
    mkdirSync(unpacked);
    const names = await Promise.all(fetch.patterns.map((pattern) => apt.newest(pattern)));
    await apt.unpack(names, unpacked);
    await finish(unpacked);
    writeFileSync(join(unpacked, "complete"), "");
    if (!existsSync(join(fetch.target, "complete"))) {
      rmSync(fetch.target, { recursive: true, force: true });
      renameSync(unpacked, fetch.target);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function privateApt(folder: string, suites: readonly string[]) {
  for (const part of ["lists/partial", "archives/partial", "packages"]) {
    mkdirSync(join(folder, part), { recursive: true });
  }
  const mirror = await debianMirror();
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const sources = suites.map(
    (suite) => `deb [target=Packages signed-by=${keyring}] ${mirror} ${suite} main\n`,
  );
  writeFileSync(join(folder, "sources.list"), sources.join(""));
  const settings = {
    "Dir::Etc::sourcelist": join(folder, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::State::lists": join(folder, "lists"),
    // What is installed here must not count as a candidate.
    "Dir::State::status": "/dev/null",
    "Dir::Cache": folder,
    "Acquire::Languages": "none",
    "APT::Sandbox::User": "root",
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key} "${value}";\n`);
  writeFileSync(join(folder, "apt.conf"), lines.join(""));
  const env = { APT_CONFIG: join(folder, "apt.conf") };
  await outputOf(["apt-get", "-qq", "update"], { env, timeoutMs: 300_000 });

  return {
    async newest(pattern: string): Promise<string> {
      const found = await outputOf(["apt-cache", "search", "--names-only", pattern], { env });
      const names = found.split("\n").map((line) => line.split(" ")[0] ?? "");
      const newest = names.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
      if (newest === undefined || newest === "") {
        throw new Error(`Debian ${suites.join(", ")} has no package that matches ${pattern}.`);
      }
      return newest;
    },
    async unpack(names: readonly string[], target: string): Promise<void> {
      const cwd = join(folder, "packages");
      await outputOf(["apt-get", "-qq", "download", ...names], { env, cwd, timeoutMs: 900_000 });
      for (const file of readdirSync(cwd)) {
        await outputOf(["dpkg-deb", "-x", join(cwd, file), target], { timeoutMs: 300_000 });
      }
    },
  };
}

/** The address of the Debian mirror in the machine's own sources. */
async function debianMirror(): Promise<string> {
  const format = ["--format", "$(REPO_URI)"];
  const listing = await outputOf(["apt-get", "indextargets", ...format, "Created-By: Packages"]);
  const mirror = listing.split("\n").find((address) => /\/debian\/?$/u.test(address));
  if (mirror === undefined) {
    throw new Error(
      "apt has no Debian mirror among its sources: guests' packages come from there.",
    );
  }
  return mirror;
}
