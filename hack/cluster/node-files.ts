// The settings of a node's programs, written where the guest finds them.
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Kernel } from "../vm/kernels.ts";
import { nodeConfig } from "./control-plane.ts";
import { images } from "./image-names.ts";
import { BRIDGE, type ClusterNode } from "./layout.ts";

/** The folder that host and guest share. */
export function shareFolder(node: ClusterNode): string {
  return join(node.folder, "share");
}

/** The node's second serial port: QEMU reads from `.in` and writes to `.out`. */
export function callPipe(node: ClusterNode): string {
  return join(node.folder, "call");
}

export function writeNodeFiles(node: ClusterNode, kernel: Kernel, kubelet: string): void {
  const share = shareFolder(node);
  mkdirSync(join(share, "run"), { recursive: true });
  const values = {
    NODE: node.name,
    ADDRESS: node.address,
    GATEWAY: BRIDGE,
    KUBELET: kubelet,
    MODULES: join(kernel.moduleRoot, "lib/modules", kernel.version),
    MACHINE_ID: createHash("md5").update(node.name).digest("hex"),
  };
  const lines = Object.entries(values).map(([name, value]) => `${name}='${value}'\n`);
  writeFileSync(join(share, "settings"), lines.join(""));
  writeFileSync(join(share, "kubelet.json"), JSON.stringify(kubeletSettings));
  writeFileSync(join(share, "cni.conflist"), JSON.stringify(podNetwork(node)));
  writeFileSync(join(share, "containerd.toml"), CONTAINERD);
  copyFileSync(nodeConfig(node.name), join(share, "kubeconfig.json"));
}

const EVICTION_SIGNALS = [
  ...["memory.available", "nodefs.available", "nodefs.inodesFree"],
  ...["imagefs.available", "imagefs.inodesFree"],
];

const kubeletSettings = {
  apiVersion: "kubelet.config.k8s.io/v1beta1",
  kind: "KubeletConfiguration",
  // The network is the cluster's own; the API server brings no certificate.
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: "AlwaysAllow" },
  cgroupDriver: "cgroupfs",
  failSwapOn: false,
  containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
  // Containers get no DNS: every address in this cluster is a number.
  resolvConf: "",
  // No eviction, for which kubelet would ask each container for its figures all the time.
  evictionHard: Object.fromEntries(EVICTION_SIGNALS.map((name) => [name, "0%"])),
  localStorageCapacityIsolation: false,
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
  // An emulated node should not be asked more often than tests can see.
  nodeStatusUpdateFrequency: "10s",
  shutdownGracePeriod: "0s",
  serializeImagePulls: false,
};

function podNetwork({ podRange }: ClusterNode) {
  return {
    cniVersion: "0.4.0",
    name: "weir",
    plugins: [
      {
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        hairpinMode: true,
        ipam: {
          type: "host-local",
          // In memory: after a reboot no pod holds an address.
          dataDir: "/run/cni",
          ranges: [[{ subnet: podRange }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
    ],
  };
}

const CONTAINERD = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${images.pause}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
`;
