// What both kinds share: their place in the API, names, and the fields that mean the same in both.
import { z } from "zod";

/** The place of both kinds in the API. */
export const WEIR_API = { group: "weir.storage", version: "v1alpha1", namespaced: false } as const;
/** What holds an object until its data in the bucket is dealt with. */
export const DATA_FINALIZER = "weir.storage/data";

/** What CreateVolume puts on a Volume that a claim asked for. */
export const LABELS = {
  pvcName: "weir.storage/pvc-name",
  pvcNamespace: "weir.storage/pvc-namespace",
  pvName: "weir.storage/pv-name",
} as const;

/** A DNS-1123 label: also the name in the bucket, the volume handle, and part of device paths. */
export const OBJECT_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/u;
export const OBJECT_NAME_LENGTH_MAX = 63;

export const objectName = z.string().min(1).max(OBJECT_NAME_LENGTH_MAX).regex(OBJECT_NAME);

/** Of a Kubernetes node: a DNS-1123 subdomain; "" where none is meant. */
export const nodeName = z
  .string()
  .max(253)
  .regex(/^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$/u);

/** RFC 3339, as Kubernetes writes times. */
export const timestamp = z.string().max(40).meta({ format: "date-time" });

export const byteCount = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** How far the bucket has a volume's log; the numbers of core/log. */
export const positionSchema = z.object({
  epoch: byteCount.describe("Number of the writer that committed it."),
  seq: byteCount.describe("Number of the segment within the epoch."),
});
