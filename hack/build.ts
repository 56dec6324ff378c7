// npm run build [release|asan|tsan ...]: the native addon, tests and tools; all variants by
// default.
import { buildNative, VARIANTS } from "./native-build.ts";
import { ensurePackages } from "./packages.ts";

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !VARIANTS.some((variant) => variant === name));
if (unknown !== undefined) {
  console.error(`There is no variant '${unknown}': say ${VARIANTS.join(", ")}.`);
  process.exit(2);
}
await ensurePackages(["build"]);
for (const variant of VARIANTS) {
  const chosen = wanted.length === 0 || wanted.includes(variant);
  if (chosen && !(await buildNative(variant, "inherit"))) {
    process.exit(1);
  }
}
