// Goal: whatever program is killed, a pod that writes, syncs and reads back sees no I/O error and
// no wrong byte, and everything that was asked for meanwhile comes true. Method: kill -9 of each
// program of Weir, of the API server and of the S3 server while such a pod runs, and while a claim
// and a pod that uses it have just been applied. The writer ends at the first error, and is never
// started again: at the end it still runs.
import { expect, test } from "vitest";
import { z } from "zod";
import { startControlPlane } from "../../hack/cluster/control-plane.ts";
import { endDaemon } from "../../hack/cluster/daemons.ts";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { allTraces, killProgram, onNode, untilTracesGone } from "../support/cluster-nodes.ts";
import { operatorPlaces } from "../support/cluster-nodes.ts";
import { claim, podWithClaim } from "../support/cluster-objects.ts";

/** Turns of the writer after a kill that show that it goes on. */
const TURNS = 5;

/** Each turn is written, synced and read back from the device, not from the page cache. */
const WRITER = `
  set -o pipefail
  turn=0
  while :; do
    turn=$((turn + 1))
    file=/data/$((turn % 16))
    dd if=/dev/urandom of=/tmp/block bs=64k count=1 status=none
    dd if=/tmp/block of=$file bs=64k conv=fsync status=none
    dd if=$file bs=64k iflag=direct status=none | cmp - /tmp/block
    echo $turn >/tmp/turns.new
    mv /tmp/turns.new /tmp/turns
    # An emulated node needs its time for whoever comes back.
    sleep 1
  done`;

const podState = z.object({ status: z.object({ phase: z.string() }) });

/** Turns the writer has done; fails when it has ended. */
async function turns(scene: Scene, pod: string): Promise<number> {
  const { status } = await scene.get(podState, "pod", pod);
  if (status.phase !== "Running") {
    const story = await scene.describe("pod", pod);
    throw new Error(`The writer has ended:\n${story}\n${await scene.logs(pod)}`);
  }
  // An exec may be cut off by what was killed; the next one is not.
  const text = await eventually(`the turns of ${pod}`, () =>
    scene.run(pod, "cat /tmp/turns || echo 0").catch(() => undefined),
  );
  return Number(text);
}

async function untilTurns(scene: Scene, pod: string, atLeast: number): Promise<number> {
  return eventually(`turn ${atLeast} of ${pod}`, async () => {
    const done = await turns(scene, pod);
    return done >= atLeast ? done : undefined;
  });
}

const ioErrors = (node: string) => onNode(node, "dmesg | grep -ci 'i/o error' || true");

test("each program is killed under a pod that writes, and everything converges", async () => {
  const { with: home, without: node } = await operatorPlaces();
  const before = await allTraces();
  const errors = await ioErrors(node);
  {
    await using scene = await startScene();
    for (const durability of ["local", "s3"]) {
      await scene.apply(
        claim({ name: durability, storageClass: `weir-${durability}`, size: "64Mi" }),
        podWithClaim({ name: durability, claim: durability, node, command: WRITER }),
      );
    }
    const victims: readonly (readonly [string, () => Promise<void>])[] = [
      ["csi-node", () => killProgram(node, "csi-node")],
      ["engine", () => killProgram(node, "engine")],
      ["operator", () => killProgram(home, "operator")],
      ["versitygw", () => outage(scene)],
      ["kube-apiserver", () => killDaemon("kube-apiserver")],
    ];
    for (const pod of ["local", "s3"]) {
      await scene.untilReady(pod);
      await untilTurns(scene, pod, 1);
    }
    for (const [victim, kill] of victims) {
      console.log(`kill -9 ${victim}`);
      await scene.apply(
        claim({ name: victim, storageClass: "weir-local", size: "64Mi" }),
        podWithClaim({ name: victim, claim: victim, node }),
      );
      await kill();
      for (const pod of ["local", "s3"]) {
        await untilTurns(scene, pod, (await turns(scene, pod)) + TURNS);
      }
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
    await untilTurns(scene, "local", (await turns(scene, "local")) + TURNS);
  } finally {
    await startControlPlane();
  }
}

async function killDaemon(name: string): Promise<void> {
  await endDaemon(name, "SIGKILL");
  await startControlPlane();
}
