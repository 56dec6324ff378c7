// Goal: every CSI call answers as the specification says. Method: csi-sanity on the node where the
// operator runs, against the operator's own socket and the node's, so that each volume it stages is
// a real ublk device; file systems, then raw block.
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { kubectl } from "../../hack/cluster/kubectl.ts";
import { clusterNodes, NODES_MAX } from "../../hack/cluster/layout.ts";
import { runOnNode } from "../../hack/cluster/node-shell.ts";
import { goTools } from "../../hack/tools/go-tool.ts";

const podList = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ uid: z.string() }),
      spec: z.object({ nodeName: z.string() }),
    }),
  ),
});

const MIB = 1024 * 1024;
const SANITY_MS = 1_200_000;

test.each(["mount", "block"] as const)(
  "csi-sanity finds no fault: %s",
  async (accessType) => {
    const tool = await goTools("kubernetes", ["csi-sanity"]);
    const selector = "--selector=app.kubernetes.io/component=operator";
    const listing = await kubectl(["get", "pods", "-A", selector, "--output=json"]);
    const [operator] = podList.parse(JSON.parse(listing)).items;
    const node = clusterNodes(NODES_MAX).find(({ name }) => name === operator?.spec.nodeName);
    if (operator === undefined || node === undefined) throw new Error("no operator runs");
    const kubelet = "/var/lib/kubelet";
    const emptyDirs = join(
      kubelet,
      "pods",
      operator.metadata.uid,
      "volumes/kubernetes.io~empty-dir",
    );
    const work = join(kubelet, `sanity-${accessType}`);
    const end = await runOnNode(node, {
      timeoutMs: SANITY_MS,
      script: `
        mkdir -p ${work}
        ${tool("csi-sanity")} \\
          -csi.endpoint=unix://${kubelet}/plugins/csi.weir.storage/csi.sock \\
          -csi.controllerendpoint=unix://$(ls ${emptyDirs}/*/csi.sock) \\
          -csi.mountdir=${work}/mount -csi.stagingdir=${work}/staging \\
          -csi.testvolumeaccesstype=${accessType} \\
          -csi.testvolumesize=${64 * MIB} -csi.testvolumeexpandsize=${128 * MIB} \\
          -ginkgo.no-color -ginkgo.timeout=18m`,
    });
    // One case of csi-sanity is marked as pending by csi-sanity itself.
    expect(end.output).toMatch(/ 0 Failed \| 1 Pending \| /u);
    expect(end.exitCode, end.output).toBe(0);
  },
  SANITY_MS + 60_000,
);
