// The QEMU that runs guests: the machine's own when it is new enough, else one from Debian's
// backports, unpacked into the cache, on the shared libraries of the installed one.
//
// Before 8.1, translated code could be stale: QEMU read the bytes of a block before it watched
// their page, so what another virtual CPU wrote in between went unnoticed (QEMU's commit deba78709a
// closed most of the gap). V8 writes code on several threads; that a Node once died in such a guest
// of a failed check in its bookkeeping of code may have been this.
import { join } from "node:path";
import { cache } from "../places.ts";
import { outputOf } from "../program.ts";
import { fetchPackages } from "./debian.ts";

const oldest = { major: 8, minor: 1 } as const;

/** The program and the arguments that it always needs. */
export async function findQemu(): Promise<readonly string[]> {
  const installed = "qemu-system-x86_64";
  const said = await outputOf([installed, "--version"]);
  const [, major, minor] = /version (\d+)\.(\d+)/u.exec(said) ?? [];
  const difference = Number(major) - oldest.major || Number(minor) - oldest.minor;
  if (difference >= 0) {
    return [installed];
  }
  const root = join(cache, "qemu");
  const packages = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
  await fetchPackages({
    suites: ["bookworm-backports"],
    patterns: packages.map((name) => `^${name}$`),
    target: root,
  });
  const data = ["usr/share/qemu", "usr/share/seabios"].map((folder) => join(root, folder));
  // Programs of network cards are not used, but wanted; those of the machine will do.
  return [
    join(root, "usr/bin", installed),
    ...[...data, "/usr/lib/ipxe/qemu"].flatMap((f) => ["-L", f]),
  ];
}
