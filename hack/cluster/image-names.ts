// The images that nodes hold. Nothing is ever pulled.
export const images = {
  pause: "localhost/pause:1",
  busybox: "localhost/busybox:1",
  weir: "localhost/weir:dev",
  "csi-provisioner": "localhost/csi-provisioner:v6.3.0",
  "csi-attacher": "localhost/csi-attacher:v4.12.0",
  "csi-resizer": "localhost/csi-resizer:v2.2.0",
  "csi-snapshotter": "localhost/csi-snapshotter:v8.6.0",
  "snapshot-controller": "localhost/snapshot-controller:v8.6.0",
} as const;

export type ImageName = keyof typeof images;
