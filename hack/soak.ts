// hack/run soak [--handoffs 1000] [--kills 200] [--devices 2] [--minutes 240] [--kernel 6.12|7.2]
// Handoffs and SIGKILLs of the engine under load in a guest, on each kernel: bounded in time, and
// what was not reached within it is a failure. Shows its progress as it comes.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildNative } from "./native-build.ts";
import { ensurePackages } from "./packages.ts";
import { checkout } from "./places.ts";
import { countLines } from "./test/count.ts";
import { runInGuest } from "./vm/guest.ts";
import { KERNELS, type KernelName } from "./vm/kernels.ts";

const { values } = parseArgs({
  options: {
    handoffs: { type: "string", default: "1000" },
    kills: { type: "string", default: "200" },
    devices: { type: "string", default: "2" },
    minutes: { type: "string", default: "240" },
    kernel: { type: "string" },
  },
});
const kernels = KERNELS.filter((name) => values.kernel === undefined || name === values.kernel);
if (kernels.length === 0) {
  console.error(`there is no kernel ${values.kernel ?? ""}: choose ${KERNELS.join(" or ")}`);
  process.exit(2);
}
await ensurePackages(["build", "disk", "vm"]);
if (!(await buildNative("release", "inherit"))) process.exit(1);
let good = true;
for (const kernel of kernels) {
  console.log(`soak: kernel ${kernel}`);
  good = (await soak(kernel)) && good;
}
process.exit(good ? 0 : 1);

async function soak(kernel: KernelName): Promise<boolean> {
  const share = mkdtempSync(join(tmpdir(), "weir-soak-"));
  const { handoffs, kills, devices, minutes } = values;
  const settings = `HANDOFFS=${handoffs} KILLS=${kills} DEVICES=${devices} MINUTES=${minutes}`;
  const script = readFileSync(join(checkout, "test/vm/handoff-soak.sh"), "utf8");
  const show = follow(join(share, "output"));
  const timer = setInterval(show, 2000);
  try {
    const end = await runInGuest({
      kernel,
      script: `${settings}\n${script}`,
      memoryMiB: 6144,
      diskMiB: 20_480,
      shareFolder: share,
      timeoutMs: (Number(minutes) + 10) * 60_000,
    });
    show();
    for (const complaint of end.complaints) console.log(complaint);
    const fine = end.exitCode === 0 && end.complaints.length === 0;
    return countLines(end.output, fine).failed === 0;
  } finally {
    clearInterval(timer);
    rmSync(share, { recursive: true });
  }
}

/** Prints what has come to the file since the last call. */
function follow(file: string): () => void {
  let shown = 0;
  return () => {
    if (!existsSync(file)) return;
    const text = readFileSync(file, "utf8");
    process.stdout.write(text.slice(shown));
    shown = text.length;
  };
}
