// A pod that writes without a pause and ends at its first error or wrong byte; it is never started
// again, so that at the end of a test it still runs, or there was one.
import { z } from "zod";
import { eventually, type Scene } from "./cluster.ts";

/** Each turn is written, synced and read back from the device, not from the page cache. */
export const WRITER = `
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
export async function turns(scene: Scene, pod: string): Promise<number> {
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

export async function untilTurns(scene: Scene, pod: string, atLeast: number): Promise<number> {
  return eventually(`turn ${atLeast} of ${pod}`, async () => {
    const done = await turns(scene, pod);
    return done >= atLeast ? done : undefined;
  });
}
