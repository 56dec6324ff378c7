// Goal: whatever kubelet calls, repeated, at once, cancelled, in any order, and with a node service
// that is killed in between: an answer that says success is true, no call fails with a code that
// says "our bug", no file that was synced is lost, and in the end there is no device, no mount and
// no target left. Method: random rounds of calls on real devices and mounts, for some minutes; the
// model is what a successful answer promises. The seed is printed; ANY_ORDER_SEED repeats the
// choices, not the kernel's timing. As test/csi/any-order.prop.test.ts does it with fakes.
import { status } from "@grpc/grpc-js";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import {
  answers,
  call,
  check,
  devices,
  ended,
  expand,
  expectSame,
  isServiceError,
  kubelet,
  killNode,
  MIB,
  mountsAt,
  publish,
  stage,
  staging,
  startNode,
  target,
  unpublish,
  unstage,
  until,
  type Send,
} from "./kubelet.ts";

const SECONDS = Number(process.env["ANY_ORDER_SECONDS"] ?? "150");
const SEED = Number(process.env["ANY_ORDER_SEED"] ?? String(Date.now() % 1_000_000));

/** Made by test/vm/csi-node.sh; the second one is used as a block device. */
const VOLUMES = ["any-files", "any-raw"] as const;
const PODS = ["p", "q"] as const;
const UNDO_TRIES = 60;
const SMALLEST_MIB = 128;

/** What kubelet may be told; INTERNAL and UNKNOWN would be our bug. */
const HONEST: ReadonlySet<status> = new Set([
  ...[status.ABORTED, status.FAILED_PRECONDITION, status.NOT_FOUND, status.UNAVAILABLE],
  ...[status.CANCELLED, status.DEADLINE_EXCEEDED, status.ALREADY_EXISTS],
]);

const ACTS = ["stage", "publish", "unpublish", "unstage", "expand"] as const;
type Act = (typeof ACTS)[number];

/** One after the other, as long as they succeed; the way of a pod comes most often. */
const CHAINS: readonly (readonly Act[])[] = [
  ...[["stage", "publish"] as const, ["stage", "publish"] as const, ["stage", "publish"] as const],
  ...[["unpublish", "unstage"] as const, ["unpublish", "unstage"] as const],
  ...[["stage"] as const, ["publish"] as const, ["unpublish"] as const],
  ...[["unstage"] as const, ["expand"] as const],
];

interface Command {
  readonly chain: readonly Act[];
  readonly volume: (typeof VOLUMES)[number];
  readonly pod: (typeof PODS)[number];
  readonly afterMs: number;
  readonly cancelAfterMs: number | "never";
  readonly times: number;
}

const random = new SeededRandom(SEED);
const oneOf = <T>(list: readonly T[]): T => {
  const found = list[random.integer(list.length)];
  if (found === undefined) throw new Error("there is nothing to choose from");
  return found;
};

let program = startNode();
let sizeMiB = SMALLEST_MIB;
/** How often something was done, and what came of it. */
const counts = new Map<string, number>();
/** What the file on the first volume holds, once it was written. */
let note: string | undefined;

/** Growing may be refused in every state that came up. */
function hasSeenAll(): boolean {
  return ACTS.every((act) => act === "expand" || counts.has(`${act} OK`));
}

function draw(): Command {
  return {
    chain: oneOf(CHAINS),
    volume: oneOf(VOLUMES),
    pod: oneOf(PODS),
    afterMs: oneOf([0, 0, 100, 400]),
    cancelAfterMs: oneOf(["never", "never", "never", 20, 200, 800]),
    times: oneOf([1, 1, 1, 2, 3]),
  };
}

function requestOf(act: Act, { volume, pod }: Command): Send<unknown> {
  const use = volume === "any-raw" ? {} : { fsType: "ext4" };
  switch (act) {
    case "stage":
      return stage(volume, use);
    case "publish":
      return publish(volume, pod, use);
    case "unpublish":
      return unpublish(volume, pod);
    case "unstage":
      return unstage(volume);
    case "expand":
      return expand(volume, target(volume, pod), sizeMiB * MIB);
    default:
      throw new Error(`unknown act ${String(act satisfies never)}`);
  }
}

/** Resolves to what succeeded; throws when the answer is not one that kubelet may get. */
async function run(command: Command): Promise<readonly Act[]> {
  await sleep(command.afterMs);
  const cancelling = new AbortController();
  const { cancelAfterMs } = command;
  if (cancelAfterMs !== "never") void sleep(cancelAfterMs).then(() => cancelling.abort());
  const done: Act[] = [];
  for (const act of command.chain) {
    const outcome = await attempt(requestOf(act, command), cancelling.signal);
    const key = `${act} ${status[outcome]}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    if (outcome !== status.OK) break;
    done.push(act);
  }
  return done;
}

async function attempt(send: Send<unknown>, signal: AbortSignal): Promise<status> {
  try {
    await call(send, { signal });
    return status.OK;
  } catch (cause) {
    if (isServiceError(cause) && HONEST.has(cause.code)) return cause.code;
    throw cause;
  }
}

/** Throws unless what the answer said is so. */
function expectDone(act: Act, { volume, pod }: Command): void {
  const place = target(volume, pod);
  const staged = volume === "any-raw" ? 0 : 1;
  const what = `after ${act} of ${volume} for ${pod}`;
  switch (act) {
    case "stage":
      expectSame(mountsAt(staging(volume)), staged, `mounts at the staging path ${what}`);
      break;
    case "publish":
      expectSame(mountsAt(place), 1, `mounts at the target ${what}`);
      break;
    case "unpublish":
      expectSame(mountsAt(place), 0, `mounts at the target ${what}`);
      expectSame(existsSync(place), false, `target ${what}`);
      break;
    case "unstage":
      expectSame(mountsAt(staging(volume)), 0, `mounts at the staging path ${what}`);
      break;
    case "expand":
      break;
    default:
      throw new Error(`unknown act ${String(act satisfies never)}`);
  }
}

async function round(): Promise<void> {
  const batch = Array.from({ length: 1 + random.integer(3) }, draw);
  const isKilled = random.integer(6) === 0;
  const calls = batch.flatMap((command) =>
    Array.from({ length: command.times }, async () => ({ command, done: await run(command) })),
  );
  if (isKilled) {
    await sleep(random.integer(500));
    await killNode(program);
    program = startNode();
  }
  const results = await Promise.all(calls);
  if (isKilled) await untilReady();
  for (const { command, done } of results) {
    const isAlone = batch.every((other) => other === command || other.volume !== command.volume);
    for (const act of isAlone && !isKilled ? done : []) expectDone(act, command);
  }
  writeNote();
}

/** Reads what was written last, by whatever way the volume is mounted now, and writes anew. */
function writeNote(): void {
  const pod = PODS.find((pod) => mountsAt(target("any-files", pod)) > 0);
  if (pod === undefined) return;
  const file = join(target("any-files", pod), "note");
  expectNote(file);
  const fresh = String(random.integer(1_000_000_000));
  const open = openSync(file, "w");
  writeSync(open, fresh);
  fsyncSync(open);
  closeSync(open);
  note = fresh;
}

function expectNote(file: string): void {
  const found = existsSync(file) ? readFileSync(file, "utf8") : undefined;
  expectSame(found, note, "the file on the volume");
}

async function untilReady(): Promise<void> {
  // Nobody registers the driver here, so /readyz would not say it.
  await until("an answer of the node service", answers);
}

/** As kubelet does it: again and again until it is done. */
async function untilDone(act: Act, command: Command): Promise<void> {
  for (let tries = 0; tries < UNDO_TRIES; tries += 1) {
    const outcome = await attempt(requestOf(act, command), new AbortController().signal);
    if (outcome === status.OK) return;
    await sleep(500);
  }
  throw new Error(`${act} of ${command.volume} is never done`);
}

const QUIET = { chain: [], afterMs: 0, cancelAfterMs: "never", times: 1 } as const;

async function undoAll(): Promise<void> {
  for (const volume of VOLUMES) {
    for (const pod of PODS) await untilDone("unpublish", { ...QUIET, volume, pod });
    await untilDone("unstage", { ...QUIET, volume, pod: "p" });
  }
}

await mkdir(kubelet, { recursive: true });
console.log(`# seed ${SEED}, ${SECONDS} s`);
await check("in any order: no answer lies, and no synced file is lost", async () => {
  await untilReady();
  const endMs = performance.now() + SECONDS * 1000;
  // A slow guest does few rounds: on until each kind of call has succeeded, or the test could not
  // tell a lie. The suite's own limit ends it otherwise.
  for (let rounds = 1; performance.now() < endMs || !hasSeenAll(); rounds += 1) {
    if (random.integer(10) === 0) sizeMiB += 16;
    await round();
    if (rounds % 10 === 0) console.log(`# ${rounds} rounds`);
  }
  const done = [...counts].map(([what, count]) => `${what} ${count}`);
  console.log(`# ${done.join(", ")}`);
});
await check("in any order: undone, nothing is left", async () => {
  await undoAll();
  // Once more: it is all gone, and that is fine.
  await undoAll();
  expectSame(devices().join(), "", "devices");
  for (const volume of VOLUMES) {
    expectSame(mountsAt(staging(volume)), 0, "staged");
    for (const pod of PODS) expectSame(existsSync(target(volume, pod)), false, "target");
  }
});
await check("in any order: the volume is as it was left", async () => {
  const again = { ...QUIET, volume: "any-files", pod: "p" } as const;
  await untilDone("stage", again);
  await untilDone("publish", again);
  if (note !== undefined) expectNote(join(target("any-files", "p"), "note"));
  await undoAll();
});
program.kill("SIGTERM");
await ended(program);
