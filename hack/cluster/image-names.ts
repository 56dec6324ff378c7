// The images that nodes hold. Nothing is ever pulled.
export const images = {
  pause: "localhost/pause:1",
  busybox: "localhost/busybox:1",
  /** As Kubernetes' e2e suite names it when its registries are called `localhost`. */
  agnhost: "localhost/agnhost:2.63.0",
  fio: "localhost/fio:1",
  weir: "localhost/weir:dev",
  "csi-provisioner": "localhost/csi-provisioner:v6.3.0",
  "csi-attacher": "localhost/csi-attacher:v4.12.0",
  "csi-resizer": "localhost/csi-resizer:v2.2.0",
  "csi-snapshotter": "localhost/csi-snapshotter:v8.6.0",
  "snapshot-controller": "localhost/snapshot-controller:v8.6.0",
} as const;

/** More of the suite's images, as test/utils/image/manifest.go of 1.36.3 has them. */
export const busyboxAliases = [
  "localhost/busybox:1.37.0-1",
  // Of these the suite uses the shell only.
  "localhost/nginx:1.15-4",
  "localhost/glibc-dns-testing:2.0.0",
];

export type ImageName = keyof typeof images;
