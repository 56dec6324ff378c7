// Goal: every CSI call answers as the specification says. Method: csi-sanity on the node where the
// operator runs, against the operator's own socket and the node's, so that each volume it stages is
// a real ublk device; file systems, then raw block. What csi-sanity skips is what the driver does
// not declare, and nothing else.
import { join } from "node:path";
import { expect, test } from "vitest";
import { runOnNode } from "../../hack/cluster/node-shell.ts";
import { goTools } from "../../hack/tools/go-tool.ts";
import { containersOf, nodeByName, weirPods } from "../support/cluster-nodes.ts";

const MIB = 1024 * 1024;
const SANITY_MS = 1_200_000;

/** As csi-sanity names it. */
const UNDECLARED = [
  "GetCapacity not supported",
  "ControllerModifyVolume not supported",
  "Modify volume not supported",
  "Modify Volume not supported",
  "ControllerPublishVolume.readonly field not supported",
  "GroupControllerService not supported",
  // A setting of its own, for drivers with a limit of their own.
  "testnodevolumeattachlimit not enabled",
];

test.each(["mount", "block"] as const)(
  "csi-sanity finds no fault: %s",
  async (accessType) => {
    const tool = await goTools("kubernetes", ["csi-sanity"]);
    const operator = await operatorPod();
    const kubelet = "/var/lib/kubelet";
    const emptyDirs = join(kubelet, "pods", operator.uid, "volumes/kubernetes.io~empty-dir");
    const work = join(kubelet, `sanity-${accessType}`);
    const end = await runOnNode(nodeByName(operator.node), {
      timeoutMs: SANITY_MS,
      script: `
        rm --recursive --force --one-file-system ${work}
        mkdir ${work}
        ${tool("csi-sanity")} \\
          -csi.endpoint=unix://${kubelet}/plugins/csi.weir.storage/csi.sock \\
          -csi.controllerendpoint=unix://$(ls ${emptyDirs}/*/csi.sock) \\
          -csi.mountdir=${work}/mount -csi.stagingdir=${work}/staging \\
          -csi.testvolumeaccesstype=${accessType} \\
          -csi.testvolumesize=${64 * MIB} -csi.testvolumeexpandsize=${128 * MIB} \\
          -ginkgo.v -ginkgo.no-color -ginkgo.timeout=18m`,
    });
    const skipped = new Set(
      [...end.output.matchAll(/^ +\[SKIPPED\] (?!in \[)(.+)$/gmu)].map(([, reason]) => reason),
    );
    console.log(end.output.match(/^Ran \d.*\n.*$/mu)?.[0], [...skipped]);
    // Else the words are no longer found.
    expect([...skipped]).toContain("GetCapacity not supported");
    expect(UNDECLARED).toEqual(expect.arrayContaining([...skipped]));
    // One case of csi-sanity is marked as pending by csi-sanity itself.
    expect(end.output).toMatch(/ 0 Failed \| 1 Pending \| /u);
    expect(end.exitCode, end.output).toBe(0);
    // It was one operator from the first call to the last.
    expect(await operatorPod()).toEqual(operator);
  },
  SANITY_MS + 60_000,
);

async function operatorPod() {
  const [pod] = await weirPods("operator");
  const node = pod?.spec.nodeName;
  if (pod === undefined || node === undefined) throw new Error("no operator runs");
  const { name, uid } = pod.metadata;
  const restarts = containersOf(pod).find((one) => one.name === "operator");
  return { name, uid, node, restarts: restarts?.restartCount };
}
