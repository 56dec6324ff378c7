// npm test [-- AREA ...]: every test there is, or those of the areas named.
import { ensurePackages } from "../packages.ts";
import { runSuites } from "./run-suites.ts";
import { AREAS } from "./suite.ts";
import { suites } from "./suites.ts";

const wanted = process.argv.slice(2);
for (const area of wanted) {
  if (!AREAS.some((known) => known === area)) {
    console.error(`There is no area '${area}': say ${AREAS.join(", ")}, or nothing for all.`);
    process.exit(2);
  }
  if (!suites.some((suite) => suite.area === area)) {
    console.error(`Area '${area}' has no tests yet.`);
    process.exit(2);
  }
}
await ensurePackages(["build", "check", "disk", "vm"]);
const chosen = suites.filter((suite) => wanted.length === 0 || wanted.includes(suite.area));
process.exit((await runSuites(chosen)) ? 0 : 1);
