// Whether KVM can run a guest here. /dev/kvm may exist and still fail, so one guest tries, and the
// answer is kept until the next boot of this machine.
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache } from "../places.ts";
import { boot } from "./boot.ts";
import type { Kernel } from "./kernels.ts";

/** Long enough for any guest under KVM, which boots in about a second. */
const probeMs = 15_000;

export async function kvmWorks(kernel: Kernel): Promise<boolean> {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const answer = join(cache, `kvm-${bootId}`);
  if (!existsSync(answer)) {
    const end = await boot({
      kernel,
      accelerator: "kvm",
      script: "true",
      timeoutMs: probeMs,
      diskMiB: 64,
    });
    mkdirSync(cache, { recursive: true });
    writeFileSync(answer, end.exitCode === 0 ? "works" : "fails");
  }
  return readFileSync(answer, "utf8") === "works";
}
