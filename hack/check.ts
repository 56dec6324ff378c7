// npm run check: what every change must pass before it is shown to anyone, in under three minutes.
import { ensurePackages } from "./packages.ts";
import { runSuites } from "./test/run-suites.ts";
import { suites } from "./test/suites.ts";

await ensurePackages(["build", "check", "disk"]);
process.exit((await runSuites(suites.filter((suite) => suite.fast))) ? 0 : 1);
