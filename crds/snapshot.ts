// The Snapshot: a position of a volume's log that never moves. This zod schema is the source of the
// CRD (hack/crds.ts) and of the types; what Kubernetes alone can check stands in definitions.ts.
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
import { quantitySchema } from "./quantity.ts";
import { deletionPolicySchema } from "./volume.ts";

const snapshotSpecSchema = z
  .object({
    volume: objectName.describe("Name of the Volume."),
    deletionPolicy: deletionPolicySchema,
  })
  .describe("What is wanted.");

const snapshotPhaseSchema = z.enum(["Pending", "Ready", "Failed", "Deleting"]);
export type SnapshotPhase = z.infer<typeof snapshotPhaseSchema>;

const snapshotStatusSchema = z
  .object({
    observedGeneration: byteCount.optional().describe("The generation last acted on."),
    phase: snapshotPhaseSchema.optional().describe("For people; programs read the conditions."),
    conditions: conditionsSchema.optional(),
    uid: z
      .string()
      .max(32)
      .regex(/^[0-9a-f]{32}$/u)
      .optional()
      .describe("Name of the snapshot's object in the bucket."),
    node: nodeName.optional().describe("The node that takes it."),
    position: positionSchema.optional().describe("What it names."),
    size: quantitySchema.optional().describe("The least size of a volume made from it."),
    createdAt: timestamp.optional().describe("When it was cut."),
  })
  .describe("What is.");

export const snapshotSchema = z.object({
  metadata: MetadataSchema,
  spec: snapshotSpecSchema,
  status: snapshotStatusSchema.optional(),
});
export type Snapshot = z.infer<typeof snapshotSchema>;

export const SNAPSHOT = defineKind<Snapshot>({
  ...WEIR_API,
  kind: "Snapshot",
  plural: "snapshots",
  schema: snapshotSchema,
});
