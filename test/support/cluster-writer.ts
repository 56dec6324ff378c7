// Pods that write without a pause and end at their first error or wrong byte; they are never
// started again, so that at the end of a test they still run, or there was one.
import { z } from "zod";
import { images } from "../../hack/cluster/image-names.ts";
import { eventually, type Scene } from "./cluster.ts";

/** What a pod runs, for podWithClaim. */
export interface Writer {
  readonly image: string;
  readonly command: string;
}

/** Turns of a writer after something happened that show that it goes on. */
const TURNS = 3;

/** Each turn is written, synced and read back from the device, not from the page cache. */
export const WRITER = writer(
  images.busybox,
  `file=/data/$((turn % 16))
    dd if=/dev/urandom of=/tmp/block bs=64k count=1 status=none
    dd if=/tmp/block of=$file bs=64k conv=fsync status=none
    dd if=$file bs=64k iflag=direct status=none | cmp - /tmp/block
    # An emulated node needs its time for whoever comes back.
    sleep 1`,
);

/**
 * Each turn is 512 writes at random places, each with its own fsync, then all of them are read and
 * verified. Turns of some 30 s: an emulated node takes seconds to load fio, so shorter ones, or 50
 * writes a second, made a rollout three times as long.
 */
export const FIO_WRITER = writer(
  images.fio,
  `fio --name=turn --filename=/data/file --size=2M --bs=4k --rw=randwrite --ioengine=psync \
      --direct=1 --fsync=1 --rate_iops=,20 --verify=crc32c --verify_fatal=1 --randrepeat=0 \
      --verify_state_save=0 --output=/tmp/report || { cat /tmp/report; exit 1; }`,
);

function writer(image: string, turn: string): Writer {
  const command = `
  set -o pipefail
  turn=0
  while :; do
    turn=$((turn + 1))
    ${turn}
    echo $turn >/tmp/turns.new
    mv /tmp/turns.new /tmp/turns
  done`;
  return { image, command };
}

export const podState = z.object({ status: z.object({ phase: z.string() }) });

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

export async function untilTurns(scene: Scene, pod: string, atLeast: number): Promise<number> {
  return eventually(`turn ${atLeast} of ${pod}`, async () => {
    const done = await turns(scene, pod);
    return done >= atLeast ? done : undefined;
  });
}

/** Waits until each of them has done more turns from now on. */
export async function goOn(
  scene: Scene,
  pods: readonly string[],
  more: number = TURNS,
): Promise<void> {
  for (const pod of pods) await untilTurns(scene, pod, (await turns(scene, pod)) + more);
}
