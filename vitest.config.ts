// Four rings of TypeScript tests. `unit` runs on every check; `s3` needs a real S3 server,
// `integration` takes whole processes or many simulated seeds, and `cluster` needs the one of
// `npm run cluster`: these run in `npm test` only.
import { configDefaults, defineConfig } from "vitest/config";

const s3Tests = ["**/*.s3.test.ts"];
const integrationTests = ["test/{handoff,integration,sim,kubernetes}/**/*.test.ts"];
const clusterTests = ["test/cluster/**/*.test.ts"];

function project(name: string, include: string[], exclude: string[], testTimeoutMs: number) {
  return {
    extends: true as const,
    test: {
      name,
      include,
      exclude: [...configDefaults.exclude, ...exclude],
      testTimeout: testTimeoutMs,
    },
  };
}

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    setupFiles: ["test/support/fail-on-unlisted-logs.ts"],
    projects: [
      project("unit", ["**/*.test.ts"], [...s3Tests, ...integrationTests, ...clusterTests], 20_000),
      project("s3", s3Tests, [], 60_000),
      project("integration", integrationTests, [], 300_000),
      project("cluster", clusterTests, [], 900_000),
    ],
  },
});
