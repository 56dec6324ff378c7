// Goal: whatever program is killed, or hangs, a pod that writes, syncs and reads back sees no I/O
// error and no wrong byte, and everything that was asked for meanwhile comes true. Method: kill -9
// of each program of Weir, of the API server and of the S3 server, and SIGSTOP of the engine, while
// such a pod runs, and while a claim and a pod that uses it have just been applied. The writer ends
// at the first error, and is never started again: at the end it still runs.
import { expect, test } from "vitest";
import { startControlPlane } from "../../hack/cluster/control-plane.ts";
import { endDaemon } from "../../hack/cluster/daemons.ts";
import { startScene, type Scene } from "../support/cluster.ts";
import { allTraces, ioErrors, killProgram, untilTracesGone } from "../support/cluster-nodes.ts";
import { operatorPlaces } from "../support/cluster-nodes.ts";
import { claim, podWithClaim } from "../support/cluster-objects.ts";
import { goOn, untilTurns, WRITER } from "../support/cluster-writer.ts";

/** Programs that load for a minute or two on emulated nodes come back five times. */
const KILLS = { timeout: 1_800_000 };

test("each program is killed under a writing pod, everything converges", KILLS, async () => {
  const { with: home, without: node } = await operatorPlaces();
  const before = await allTraces();
  const errors = await ioErrors(node);
  {
    await using scene = await startScene();
    for (const durability of ["local", "s3"]) {
      await scene.apply(
        claim({ name: durability, storageClass: `weir-${durability}`, size: "64Mi" }),
        podWithClaim({ name: durability, claim: durability, node, ...WRITER }),
      );
    }
    const victims: readonly (readonly [string, () => Promise<void>])[] = [
      ["csi-node", () => killProgram(node, "csi-node")],
      ["engine", () => killProgram(node, "engine")],
      ["engine-hangs", () => killProgram(node, "engine", "STOP")],
      ["operator", () => killProgram(home, "operator")],
      ["versitygw", () => outage(scene)],
      ["kube-apiserver", () => killDaemon("kube-apiserver")],
    ];
    for (const pod of ["local", "s3"]) {
      await scene.untilReady(pod);
      await untilTurns(scene, pod, 1);
    }
    for (const [victim, kill] of victims) {
      console.log(`victim: ${victim}`);
      await scene.apply(
        claim({ name: victim, storageClass: "weir-local", size: "64Mi" }),
        podWithClaim({ name: victim, claim: victim, node }),
      );
      await kill();
      await goOn(scene, ["local", "s3"]);
      await scene.untilReady(victim);
      await scene.run(victim, "dd if=/dev/urandom of=/data/file bs=1M count=1 conv=fsync");
      await scene.delete("pod", victim);
      await scene.delete("pvc", victim);
    }
  }
  await untilTracesGone(before);
  expect(await ioErrors(node)).toBe(errors);
});

/** Class `local` goes on while there is no bucket; class `s3` waits. */
async function outage(scene: Scene): Promise<void> {
  await endDaemon("versitygw", "SIGKILL");
  try {
    await goOn(scene, ["local"]);
  } finally {
    await startControlPlane();
  }
}

async function killDaemon(name: string): Promise<void> {
  await endDaemon(name, "SIGKILL");
  await startControlPlane();
}
