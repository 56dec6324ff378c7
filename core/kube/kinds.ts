// The built-in kinds that Weir reads or writes. Their schemas hold only the fields that are used,
// so that no change elsewhere in a kind can break the parsing of it.

import { z } from "zod";
import { MetadataSchema, defineKind } from "./kind.ts";

const storage = { group: "storage.k8s.io", version: "v1" } as const;

const PersistentVolumeSchema = z.object({
  metadata: MetadataSchema,
  spec: z.object({
    capacity: z.record(z.string(), z.string()).optional(),
    accessModes: z.array(z.string()).optional(),
    claimRef: z
      .object({
        name: z.string().optional(),
        namespace: z.string().optional(),
        uid: z.string().optional(),
      })
      .optional(),
    csi: z
      .object({
        driver: z.string(),
        volumeHandle: z.string(),
        fsType: z.string().optional(),
        volumeAttributes: z.record(z.string(), z.string()).optional(),
      })
      .optional(),
    persistentVolumeReclaimPolicy: z.string().optional(),
    storageClassName: z.string().optional(),
    volumeMode: z.string().optional(),
  }),
  status: z.object({ phase: z.string().optional() }).optional(),
});
export type PersistentVolume = z.infer<typeof PersistentVolumeSchema>;
export const PERSISTENT_VOLUME = defineKind<PersistentVolume>({
  group: "",
  version: "v1",
  kind: "PersistentVolume",
  plural: "persistentvolumes",
  namespaced: false,
  schema: PersistentVolumeSchema,
});

const PersistentVolumeClaimSchema = z.object({
  metadata: MetadataSchema,
  spec: z.object({
    accessModes: z.array(z.string()).optional(),
    storageClassName: z.string().optional(),
    volumeMode: z.string().optional(),
    volumeName: z.string().optional(),
  }),
  status: z
    .object({
      phase: z.string().optional(),
      capacity: z.record(z.string(), z.string()).optional(),
    })
    .optional(),
});
export type PersistentVolumeClaim = z.infer<typeof PersistentVolumeClaimSchema>;
export const PERSISTENT_VOLUME_CLAIM = defineKind<PersistentVolumeClaim>({
  group: "",
  version: "v1",
  kind: "PersistentVolumeClaim",
  plural: "persistentvolumeclaims",
  namespaced: true,
  schema: PersistentVolumeClaimSchema,
});

const NodeSchema = z.object({
  metadata: MetadataSchema,
  spec: z
    .object({
      unschedulable: z.boolean().optional(),
      taints: z
        .array(z.object({ key: z.string(), value: z.string().optional(), effect: z.string() }))
        .optional(),
    })
    .optional(),
  status: z
    .object({
      conditions: z
        .array(z.object({ type: z.string(), status: z.enum(["True", "False", "Unknown"]) }))
        .optional(),
    })
    .optional(),
});
export type Node = z.infer<typeof NodeSchema>;
export const NODE = defineKind<Node>({
  group: "",
  version: "v1",
  kind: "Node",
  plural: "nodes",
  namespaced: false,
  schema: NodeSchema,
});

const CsiNodeSchema = z.object({
  metadata: MetadataSchema,
  spec: z.object({
    drivers: z
      // The API server writes null for a node without drivers.
      .array(
        z.object({
          name: z.string(),
          nodeID: z.string(),
          topologyKeys: z.array(z.string()).nullish(),
        }),
      )
      .nullish(),
  }),
});
export type CsiNode = z.infer<typeof CsiNodeSchema>;
export const CSI_NODE = defineKind<CsiNode>({
  ...storage,
  kind: "CSINode",
  plural: "csinodes",
  namespaced: false,
  schema: CsiNodeSchema,
});

const VolumeAttachmentSchema = z.object({
  metadata: MetadataSchema,
  spec: z.object({
    attacher: z.string(),
    nodeName: z.string(),
    source: z.object({ persistentVolumeName: z.string().optional() }),
  }),
  status: z.object({ attached: z.boolean().optional() }).optional(),
});
export type VolumeAttachment = z.infer<typeof VolumeAttachmentSchema>;
export const VOLUME_ATTACHMENT = defineKind<VolumeAttachment>({
  ...storage,
  kind: "VolumeAttachment",
  plural: "volumeattachments",
  namespaced: false,
  schema: VolumeAttachmentSchema,
});

const LeaseSchema = z.object({
  metadata: MetadataSchema,
  spec: z
    .object({
      holderIdentity: z.string().optional(),
      leaseDurationSeconds: z.number().optional(),
      acquireTime: z.string().optional(),
      renewTime: z.string().optional(),
      leaseTransitions: z.number().optional(),
    })
    .optional(),
});
export type Lease = z.infer<typeof LeaseSchema>;
export const LEASE = defineKind<Lease>({
  group: "coordination.k8s.io",
  version: "v1",
  kind: "Lease",
  plural: "leases",
  namespaced: true,
  schema: LeaseSchema,
});
