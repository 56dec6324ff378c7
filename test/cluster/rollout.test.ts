// Goal: the node plugin is upgraded with Helm, time and again, and rolled back, while pods write:
// they see no error, the driver never leaves the node, and pods created meanwhile start. A new
// version that cannot start leaves the old one serving, and kubectl shows why. Method: a pod per
// class that writes, syncs and reads back, and on each node one that runs fio with an fsync after
// each write and verifies it; all end at their first error. CSINode watched from before the first
// upgrade to after the rollback, every change of it looked at; the event on each node.
import { expect, test } from "vitest";
import { z } from "zod";
import { installWeir, rollWeirBack, untilInstalled } from "../../hack/cluster/addons.ts";
import { kubectl } from "../../hack/cluster/kubectl.ts";
import { watchDriver } from "../support/cluster-driver-watch.ts";
import { eventually, startScene, type Scene } from "../support/cluster.ts";
import { allTraces, ioErrors, nodeNames, untilTracesGone } from "../support/cluster-nodes.ts";
import { WEIR, weirPods } from "../support/cluster-nodes.ts";
import { claim, podWithClaim } from "../support/cluster-objects.ts";
import { sabotaged } from "../support/cluster-sabotage.ts";
import { FIO_WRITER, goOn, untilTurns, WRITER } from "../support/cluster-writer.ts";
import type { Writer } from "../support/cluster-writer.ts";

const UPGRADES = Number(process.env["WEIR_UPGRADES"] ?? 10);
const ROLLOUT_MS = 600_000;
/** And as much again for what is done around them. */
const ROLLOUTS = { timeout: (UPGRADES + 2) * ROLLOUT_MS };
/** A pod per class, one on each node, and fio beside it. */
const CLASSES = ["local", "s3"] as const;

const eventList = z.object({
  items: z.array(z.object({ reason: z.string(), note: z.string(), eventTime: z.string() })),
});

test("upgrades and a rollback under writing pods, and nobody notices", ROLLOUTS, async () => {
  const before = await allTraces();
  const nodes = await nodeNames();
  const errors = await errorsOf(nodes);
  const startedAt = new Date().toISOString();
  await using driver = await watchDriver(nodes);
  {
    await using scene = await startScene();
    for (const [index, durability] of CLASSES.entries()) {
      const node = nodes[index % nodes.length] ?? "";
      await scene.apply(
        claim({ name: durability, storageClass: `weir-${durability}`, size: "64Mi" }),
        podWithClaim({ name: durability, claim: durability, node, ...WRITER }),
      );
    }
    const fios = await startEach(scene, { on: nodes, called: "fio", writer: FIO_WRITER });
    for (const pod of CLASSES) await scene.untilReady(pod);
    for (const pod of CLASSES) await untilTurns(scene, pod, 1);
    const writers = { steady: CLASSES, fios };
    for (let round = 1; round <= UPGRADES; round += 1) {
      await roll(scene, writers, {
        name: `upgrade-${round}`,
        begin: () => installWeir(`node.podAnnotations.round=r${round}`),
      });
    }
    await roll(scene, writers, { name: "rollback", begin: rollWeirBack });
  }
  await untilTracesGone(before);
  expect(driver.lostOn).toEqual([]);
  expect(await errorsOf(nodes)).toEqual(errors);
  const notes = await handoffsSince(startedAt);
  console.log(notes.map(({ reason, note }) => `${reason}: ${note}`).join("\n"));
  expect(notes.filter(({ reason }) => reason !== "HandoffCompleted")).toEqual([]);
  // Each rollout hands over on each node.
  expect(notes).toHaveLength((UPGRADES + 1) * nodes.length);
});

const BROKEN = [
  [
    "crashes at its start",
    ["node.engine.additionalArgs={--no-such-option}"],
    /engine:[^]*no-such-option/u,
    "pods",
  ],
  [
    "image missing",
    ["image.tag=missing", "image.pullPolicy=Never"],
    /modprobe: ErrImageNeverPull/u,
    "pods",
  ],
  [
    "another version of the protocol",
    sabotaged({
      file: "/csi-node/handoff/messages.ts",
      from: "VERSION_MIN = 1;\nexport const VERSION_MAX = 2;",
      to: "VERSION_MIN = 98;\nexport const VERSION_MAX = 99;",
    }),
    /HandoffFailed:.*speaks versions 1 to 2 of the handoff, the other 98 to 99/u,
    "nodes and volumes",
  ],
  [
    "crashes while it loads the volumes",
    sabotaged({
      file: "/csi-node/handoff/successor.ts",
      from: "onProgress?.(progress);",
      to: 'process.kill(process.pid, "SIGKILL");',
    }),
    /HandoffFailed:.*serves on as before: the successor (?:died|closed the connection)/u,
    "nodes and volumes",
  ],
  [
    "hangs in the window, for a minute",
    sabotaged({
      file: "/csi-node/handoff/successor.ts",
      from: "const outcome = await host.take({",
      to: `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
           const outcome = await host.take({`,
    }),
    /HandoffFailed:.*serves on as before:.*did not answer in time/u,
    "nodes and volumes",
  ],
  [
    "hangs in the window, for ever",
    sabotaged({
      file: "/csi-node/handoff/successor.ts",
      from: "const outcome = await host.take({",
      to: `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
           const outcome = await host.take({`,
    }),
    /HandoffFailed:.*serves on as before:.*did not answer in time/u,
    "nodes and volumes",
  ],
] as const;

test.each(BROKEN)("a broken version: %s", async (_, values, shown, where) => {
  const before = await allTraces();
  const nodes = await nodeNames();
  const errors = await errorsOf(nodes);
  {
    await using scene = await startScene();
    // On each node, whichever the rollout begins with: a version that crashes as it loads a volume
    // starts well where there is none.
    const writers = await startEach(scene, { on: nodes, called: "on", writer: WRITER });
    // The pods of the rollout before, if there was one, are gone.
    const old = await eventually("a pod of each node alone", async () => {
      const names = (await weirPods("node")).map(({ metadata }) => metadata.name);
      return names.length === nodes.length ? names : undefined;
    });
    const startedAt = new Date().toISOString();
    await installWeir(...values);
    try {
      await eventually("kubectl shows why it does not start", async () =>
        shown.test(await whyNot(startedAt)) ? true : undefined,
      );
      if (where === "nodes and volumes") {
        await eventually("a Volume says why", async () =>
          shown.test(await volumesTold()) ? true : undefined,
        );
      }
      await goOn(scene, writers);
      const now = (await weirPods("node")).map(({ metadata }) => metadata.name);
      expect(now).toEqual(expect.arrayContaining(old));
    } finally {
      // Whatever was seen: other tests need a version that works.
      await rollWeirBack();
    }
    await untilInstalled(ROLLOUT_MS);
    await goOn(scene, writers);
  }
  await untilTracesGone(before);
  expect(await errorsOf(nodes)).toEqual(errors);
});

/** A writer of class `local` on each node; returns the pods' names once each has done a turn. */
async function startEach(
  scene: Scene,
  {
    on,
    called,
    writer,
  }: { readonly on: readonly string[]; readonly called: string; readonly writer: Writer },
): Promise<readonly string[]> {
  const names: string[] = [];
  for (const node of on) {
    const name = `${called}-${node}`;
    await scene.apply(
      claim({ name, storageClass: "weir-local", size: "64Mi" }),
      podWithClaim({ name, claim: name, node, ...writer }),
    );
    names.push(name);
  }
  for (const name of names) await scene.untilReady(name);
  for (const name of names) await untilTurns(scene, name, 1);
  return names;
}

/** One rollout, with a pod that is created in the middle of it. */
async function roll(
  scene: Scene,
  { steady, fios }: { readonly steady: readonly string[]; readonly fios: readonly string[] },
  { name, begin }: { readonly name: string; readonly begin: () => Promise<void> },
): Promise<void> {
  const old = new Set((await weirPods("node")).map(({ metadata }) => metadata.uid));
  const started = performance.now();
  await begin();
  await scene.apply(
    claim({ name, storageClass: "weir-local", size: "64Mi" }),
    podWithClaim({ name, claim: name }),
  );
  await scene.untilReady(name);
  await scene.run(name, "dd if=/dev/urandom of=/data/file bs=1M count=1 conv=fsync status=none");
  await untilInstalled(ROLLOUT_MS);
  await eventually("the old pods are gone", async () => {
    const pods = await weirPods("node");
    return pods.some(({ metadata }) => old.has(metadata.uid)) ? undefined : true;
  });
  await goOn(scene, steady);
  // The turn that was under way in the rollout is verified when it ends.
  await goOn(scene, fios, 1);
  await scene.delete("pod", name);
  await scene.delete("pvc", name);
  console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(0)} s`);
}

/** What the node service's containers say of their state and last end, and the nodes' events. */
async function whyNot(sinceIso: string): Promise<string> {
  const told = ".state.waiting.reason .lastState.terminated.message .state.terminated.message";
  const fields = told.split(" ").map((field) => `{" "}{${field}}`);
  const all = "{range .items[*].status['initContainerStatuses','containerStatuses'][*]}";
  const each = `${all}{.name}:${fields.join("")}{"\\n"}{end}`;
  const selector = "--selector=app.kubernetes.io/component=node";
  const states = await kubectl(["get", "pods", WEIR, selector, `--output=jsonpath=${each}`]);
  const events = await handoffsSince(sinceIso);
  return states + events.map(({ reason, note }) => `${reason}: ${note}\n`).join("");
}

async function volumesTold(): Promise<string> {
  const all = "{range .items[*].status.conditions[?(@.type=='HandedOver')]}";
  const each = `${all}{.reason}: {.message}{"\\n"}{end}`;
  return kubectl(["get", "volumes.weir.storage", `--output=jsonpath=${each}`]);
}

async function errorsOf(nodes: readonly string[]): Promise<readonly number[]> {
  const counts: number[] = [];
  for (const node of nodes) counts.push(await ioErrors(node));
  return counts;
}

async function handoffsSince(iso: string) {
  const fields = "--field-selector=regarding.kind=Node,reportingController=csi.weir.storage";
  const resource = "events.v1.events.k8s.io";
  const text = await kubectl(["get", resource, "--namespace=default", fields, "--output=json"]);
  const { items } = eventList.parse(JSON.parse(text));
  return items.filter(({ reason, eventTime }) => reason.startsWith("Handoff") && eventTime > iso);
}
