// The objects that tests on the cluster apply, as short as Kubernetes lets them be.
import { images } from "../../hack/cluster/image-names.ts";
import type { KubeObject } from "./cluster.ts";

export function claim(options: {
  readonly name: string;
  readonly storageClass: string;
  readonly size: string;
  readonly mode?: "Filesystem" | "Block";
  readonly from?: {
    readonly kind: "VolumeSnapshot" | "PersistentVolumeClaim";
    readonly name: string;
  };
}): KubeObject {
  const { name, storageClass, size, mode = "Filesystem", from } = options;
  const group = from?.kind === "VolumeSnapshot" ? { apiGroup: "snapshot.storage.k8s.io" } : {};
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name },
    spec: {
      accessModes: ["ReadWriteOnce"],
      storageClassName: storageClass,
      volumeMode: mode,
      resources: { requests: { storage: size } },
      ...(from === undefined ? {} : { dataSource: { ...from, ...group } }),
    },
  };
}

/** A pod that does nothing by itself, with the claim at /data, or as the device /dev/data. */
export function podWithClaim(options: {
  readonly name: string;
  readonly claim: string;
  readonly mode?: "Filesystem" | "Block";
  readonly node?: string;
  /** A shell script that it runs instead of nothing. */
  readonly command?: string;
}): KubeObject {
  const { name, claim, mode = "Filesystem", node, command = "sleep 2147483647" } = options;
  const use =
    mode === "Block"
      ? { volumeDevices: [{ name: "data", devicePath: "/dev/data" }] }
      : { volumeMounts: [{ name: "data", mountPath: "/data" }] };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 1,
      ...(node === undefined ? {} : { nodeSelector: { "kubernetes.io/hostname": node } }),
      containers: [
        {
          name: "main",
          image: images.busybox,
          command: ["sh", "-c", command],
          ...use,
        },
      ],
      volumes: [{ name: "data", persistentVolumeClaim: { claimName: claim } }],
    },
  };
}

export function volumeSnapshot(options: {
  readonly name: string;
  readonly claim: string;
}): KubeObject {
  return {
    apiVersion: "snapshot.storage.k8s.io/v1",
    kind: "VolumeSnapshot",
    metadata: { name: options.name },
    spec: {
      volumeSnapshotClassName: "weir",
      source: { persistentVolumeClaimName: options.claim },
    },
  };
}
