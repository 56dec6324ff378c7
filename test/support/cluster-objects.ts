// The objects that tests on the cluster apply, as short as Kubernetes lets them be.
import { images } from "../../hack/cluster/image-names.ts";
import type { KubeObject } from "./cluster.ts";

export function claim(options: {
  readonly name: string;
  readonly storageClass: string;
  readonly size: string;
  readonly mode?: "Filesystem" | "Block";
  readonly access?: "ReadWriteOnce" | "ReadWriteOncePod";
  readonly from?: {
    readonly kind: "VolumeSnapshot" | "PersistentVolumeClaim";
    readonly name: string;
  };
}): KubeObject {
  const { name, storageClass, size, mode = "Filesystem", access = "ReadWriteOnce", from } = options;
  const group = from?.kind === "VolumeSnapshot" ? { apiGroup: "snapshot.storage.k8s.io" } : {};
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name },
    spec: {
      accessModes: [access],
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
  /** A node that it is put on without asking the scheduler. */
  readonly boundTo?: string;
  /** A shell script that it runs instead of nothing; when it ends, so does the pod. */
  readonly command?: string;
  /** What it runs in instead of busybox. */
  readonly image?: string;
}): KubeObject {
  const { claim } = options;
  return pod({ ...options, volume: { persistentVolumeClaim: { claimName: claim } } });
}

/** The same with a volume that is made for this pod alone. */
export function podWithOwnVolume(options: {
  readonly name: string;
  readonly storageClass: string;
  readonly size: string;
}): KubeObject {
  const { spec } = claim(options);
  return pod({ ...options, volume: { ephemeral: { volumeClaimTemplate: { spec } } } });
}

function pod(options: {
  readonly name: string;
  readonly volume: object;
  readonly mode?: "Filesystem" | "Block";
  readonly node?: string;
  readonly boundTo?: string;
  readonly command?: string;
  readonly image?: string;
}): KubeObject {
  const { name, volume, mode = "Filesystem", node, boundTo, command, image } = options;
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
      ...(command === undefined ? {} : { restartPolicy: "Never" }),
      ...(boundTo === undefined ? {} : { nodeName: boundTo }),
      ...(node === undefined ? {} : { nodeSelector: { "kubernetes.io/hostname": node } }),
      containers: [
        {
          name: "main",
          image: image ?? images.busybox,
          command: ["sh", "-euc", command ?? "sleep 2147483647"],
          ...use,
        },
      ],
      volumes: [{ name: "data", ...volume }],
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

/** A class whose volumes are made at once, without a pod, and that goes with the test. */
export function storageClass(options: {
  readonly name: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly binding?: "Immediate" | "WaitForFirstConsumer";
}): KubeObject {
  const { name, parameters, binding = "Immediate" } = options;
  return {
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name },
    provisioner: "csi.weir.storage",
    parameters,
    volumeBindingMode: binding,
    allowVolumeExpansion: true,
  };
}
