// Goal: the pods by which other scenarios know that no byte was lost do end when one was. Method:
// each kind of writer, whose files are overwritten behind its back until it has failed.
import { expect, test } from "vitest";
import { eventually, startScene } from "../support/cluster.ts";
import { claim, podWithClaim } from "../support/cluster-objects.ts";
import { FIO_WRITER, podState, untilTurns, WRITER } from "../support/cluster-writer.ts";

const OVERWRITE = `for file in /data/*; do
  test -f $file && dd if=/dev/zero of=$file bs=64k count=1 conv=notrunc,fsync status=none
done`;

test.each([
  ["dd", WRITER, /differ/u],
  ["fio", FIO_WRITER, /verify: bad/u],
])("a wrong byte ends the writer with %s", async (name, writer, shown) => {
  await using scene = await startScene();
  await scene.apply(
    claim({ name, storageClass: "weir-local", size: "64Mi" }),
    podWithClaim({ name, claim: name, ...writer }),
  );
  await scene.untilReady(name);
  await untilTurns(scene, name, 1);
  await eventually("the writer ends", async () => {
    const { status } = await scene.get(podState, "pod", name);
    if (status.phase === "Failed") return true;
    // It may end at any moment, and this with it.
    await scene.run(name, OVERWRITE).catch(() => undefined);
    return undefined;
  });
  expect(await scene.logs(name)).toMatch(shown);
});
