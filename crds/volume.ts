// The Volume: a block volume whose home is the bucket. This zod schema is the source of the CRD
// (hack/crds.ts) and of the types; what Kubernetes alone can check stands in definitions.ts.
import { z } from "zod";
import { defineKind, MetadataSchema } from "../core/kube/kind.ts";
import { conditionsSchema } from "./conditions.ts";
import {
  byteCount,
  nodeName,
  objectName,
  positionSchema,
  timestamp,
  WEIR_API,
} from "./common-fields.ts";
import { durationSchema, quantitySchema } from "./quantity.ts";

/** Where the first content comes from. */
export type VolumeSource = { readonly snapshot: string } | { readonly volume: string };

export const durabilitySchema = z.enum(["local", "s3"]);
export type Durability = z.infer<typeof durabilitySchema>;

export const deletionPolicySchema = z
  .enum(["Delete", "Retain"])
  .default("Delete")
  .describe("What happens to the data in the bucket when this object is deleted.");

const sourceSchema = z
  .object({
    snapshot: objectName.optional().describe("Name of a Snapshot."),
    volume: objectName.optional().describe("Name of a Volume, cloned as it is now."),
  })
  .transform(({ snapshot, volume }, context): VolumeSource => {
    if (snapshot !== undefined && volume === undefined) return { snapshot };
    if (volume !== undefined && snapshot === undefined) return { volume };
    context.addIssue("must name either a snapshot or a volume");
    return z.NEVER;
  })
  .describe("What the volume holds at first: exactly one of snapshot and volume. Empty: zeros.");

const persistentVolumeSchema = z
  .object({
    storageClassName: z.string().max(253).optional().describe("Class that a claim must name."),
    fsType: z.enum(["ext4", "xfs"]).optional().describe("File system; ext4 unless it is given."),
    volumeMode: z.enum(["Filesystem", "Block"]).optional().describe("Filesystem by default."),
    accessModes: z
      .array(z.enum(["ReadWriteOnce", "ReadWriteOncePod"]))
      .max(2)
      .optional()
      .describe("How claims may ask for it."),
    reclaimPolicy: z
      .enum(["Delete", "Retain"])
      .optional()
      .describe("What happens to the volume when its claim is deleted."),
    claimRef: z
      .object({ namespace: z.string().min(1).max(63), name: z.string().min(1).max(253) })
      .optional()
      .describe("The only claim that may bind it."),
  })
  .describe("Set: a PersistentVolume with these properties is made for this volume.");

const volumeSpecSchema = z
  .object({
    size: quantitySchema.describe("Size, such as 10Gi; it may grow, never shrink."),
    source: sourceSchema.optional(),
    durability: durabilitySchema
      .default("local")
      .describe("What a flush waits for: the node's journal (local) or the bucket (s3)."),
    maxDirtyAge: durationSchema
      .optional()
      .describe("Data is uploaded when its oldest write is this old, 10ms to 24h; 5s by default."),
    deletionPolicy: deletionPolicySchema,
    persistentVolume: persistentVolumeSchema.optional(),
  })
  .describe("What is wanted.");
export type VolumeSpec = z.infer<typeof volumeSpecSchema>;

const volumePhaseSchema = z.enum(["Pending", "Ready", "Attached", "Failed", "Deleting"]);
export type VolumePhase = z.infer<typeof volumePhaseSchema>;

const strandedSchema = z.object({
  node: nodeName.min(1).describe("Where the data lies."),
  bytes: byteCount.describe("How much was not in the bucket."),
  since: timestamp.describe("Since when."),
});

const volumeStatusSchema = z
  .object({
    observedGeneration: byteCount.optional().describe("The generation last acted on."),
    phase: volumePhaseSchema.optional().describe("For people; programs read the conditions."),
    conditions: conditionsSchema.optional(),
    uid: z
      .string()
      .max(32)
      .regex(/^[0-9a-f]{32}$/u)
      .optional()
      .describe("Name of the volume's objects in the bucket."),
    size: quantitySchema.optional().describe("The size that the volume has."),
    node: nodeName.optional().describe("The node it is attached to; empty: none."),
    position: positionSchema.optional().describe("How far the bucket has it."),
    dirtyBytes: byteCount.optional().describe("Acknowledged, but not in the bucket yet."),
    atRiskSince: timestamp
      .optional()
      .describe("The oldest write that would be lost with the node's disk."),
    stranded: z
      .array(strandedSchema)
      .max(16)
      .optional()
      .describe("Dirty data left behind on nodes that were lost."),
    persistentVolume: z
      .string()
      .max(253)
      .optional()
      .describe("The PersistentVolume made for spec.persistentVolume."),
  })
  .describe("What is.");
export type VolumeStatus = z.infer<typeof volumeStatusSchema>;

export const volumeSchema = z.object({
  metadata: MetadataSchema,
  spec: volumeSpecSchema,
  status: volumeStatusSchema.optional(),
});
export type Volume = z.infer<typeof volumeSchema>;

export const VOLUME = defineKind<Volume>({
  ...WEIR_API,
  kind: "Volume",
  plural: "volumes",
  schema: volumeSchema,
});
