// The objects that tests on the cluster apply, as short as Kubernetes lets them be.
import { images } from "../../hack/cluster/image-names.ts";
import type { KubeObject } from "./cluster.ts";

export function claim(options: {
  readonly name: string;
  readonly storageClass: "weir-local" | "weir-s3";
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
}): KubeObject {
  const { name, claim, mode = "Filesystem", node } = options;
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
          command: ["sleep", "2147483647"],
          ...use,
        },
      ],
      volumes: [{ name: "data", persistentVolumeClaim: { claimName: claim } }],
    },
  };
}
