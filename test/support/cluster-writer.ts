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

/**
 * Each turn is written, synced and read back from the device, not from the page cache; then what
 * the next turn replaces is read once more, after sixteen turns and whatever happened meanwhile.
 */
export const WRITER = writer(
  images.busybox,
  `place=$((turn % 16))
    dd if=/dev/urandom of=/tmp/$place bs=64k count=1 status=none
    dd if=/tmp/$place of=/data/$place bs=64k conv=fsync status=none
    dd if=/data/$place bs=64k iflag=direct status=none | cmp - /tmp/$place
    next=$(((turn + 1) % 16))
    test ! -e /tmp/$next || dd if=/data/$next bs=64k iflag=direct status=none | cmp - /tmp/$next
    # An emulated node needs its time for whoever comes back.
    sleep 3`,
);

/**
 * Each turn is 128 writes at random places, each with its own fsync, then all of them are read and
 * verified. Turns of some 30 s, since an emulated node takes seconds to load fio, and five writes a
 * second: 20 a second left it no time for a rollout.
 */
export const FIO_WRITER = writer(
  images.fio,
  `fio --name=turn --filename=/data/file --size=512k --bs=4k --rw=randwrite --ioengine=psync \
      --direct=1 --fsync=1 --rate_iops=,5 --verify=crc32c --verify_fatal=1 --randrepeat=0 \
      --verify_state_save=0 --output=/tmp/report || { cat /tmp/report; exit 1; }`,
);

function writer(image: string, turn: string): Writer {
  const command = `
  set -o pipefail
  turn=0
  while :; do
    turn=$((turn + 1))
    ${turn}
    echo "turn $turn"
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
  // Not by `kubectl exec`, which costs an emulated node seconds. Asking may be cut off by what was
  // killed; the next time it is not.
  const line = await eventually(`the turns of ${pod}`, () =>
    scene.lastLine(pod).catch(() => undefined),
  );
  return Number(/^turn (\d+)$/u.exec(line)?.[1] ?? 0);
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
