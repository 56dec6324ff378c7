// Goal: what a user is told to run after the installation says the truth: `helm test` makes a
// volume, writes to it in one pod and reads it in another, and nothing of it stays. Method: helm on
// the real cluster.
import { expect, test } from "vitest";
import { testChart } from "../../hack/cluster/addons.ts";
import { kubectl } from "../../hack/cluster/kubectl.ts";
import { eventually } from "../support/cluster.ts";

const TEST_MS = 600_000;

test(
  "helm test passes, twice, and leaves nothing behind",
  async () => {
    for (let round = 0; round < 2; round += 1) {
      const said = await testChart(TEST_MS);
      // The claim, the pod that writes, the pod that compares.
      expect(said.match(/^Phase: +Succeeded$/gmu)).toHaveLength(3);
    }
    const test = "--selector=weir.storage/pvc-name=weir-test";
    await eventually("the test's volume is gone", async () => {
      const left = await kubectl(["get", "volumes.weir.storage", test, "--output=name"]);
      return left === "" ? true : undefined;
    });
  },
  2 * TEST_MS + 60_000,
);
