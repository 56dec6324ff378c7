// What the CRDs hold besides the zod schemas: names, printer columns, selectable fields, and the
// rules that only the API server can check (CEL: ranges of quantities, immutability, one of many).
import type { z } from "zod";
import { VOLUME_BYTES_MAX_QUANTITY } from "./quantity.ts";
import { snapshotSchema } from "./snapshot.ts";
import { volumeSchema } from "./volume.ts";

interface CelRule {
  readonly rule: string;
  /** Ends the line that `kubectl apply` prints: says what to do. */
  readonly message: string;
}

interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  readonly jsonPath: string;
  readonly description: string;
  /** 1: only with `kubectl get -o wide`. */
  readonly priority?: 1;
}

/** What one place of the schema gets beside its zod schema. */
interface SchemaAddition {
  readonly rules?: readonly CelRule[];
  /** How server-side apply merges a list: by these keys, or as a set of values. */
  readonly list?: { readonly mapKeys: readonly string[] } | "set";
}

export interface CrdDefinition {
  readonly kind: string;
  readonly plural: string;
  readonly shortName: string;
  readonly description: string;
  /** Of spec and status; metadata is the API server's. */
  readonly schema: z.ZodType;
  readonly columns: readonly PrinterColumn[];
  readonly selectableFields: readonly string[];
  /** By path: `spec.size`; "" is the object itself. */
  readonly additions: Readonly<Record<string, SchemaAddition>>;
}

const immutable = (what: string): CelRule => ({
  rule: "self == oldSelf",
  message: `${what} cannot change: delete the object and make another one`,
});

const conditions: SchemaAddition = { list: { mapKeys: ["type"] } };

const age: PrinterColumn = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "Since when it exists.",
};
const state: PrinterColumn = {
  name: "State",
  type: "string",
  jsonPath: ".status.phase",
  description: "Where it stands; the conditions say why.",
};

const volume: CrdDefinition = {
  kind: "Volume",
  plural: "volumes",
  shortName: "wvol",
  description: "A block volume whose home is the bucket.",
  schema: volumeSchema.omit({ metadata: true }),
  columns: [
    { name: "Size", type: "string", jsonPath: ".spec.size", description: "Size asked for." },
    {
      name: "Class",
      type: "string",
      jsonPath: ".spec.durability",
      description: "What a flush waits for: local (the node's journal) or s3 (the bucket).",
    },
    {
      name: "Node",
      type: "string",
      jsonPath: ".status.node",
      description: "Where it is attached.",
    },
    state,
    {
      name: "Dirty",
      type: "integer",
      jsonPath: ".status.dirtyBytes",
      description: "Acknowledged bytes that are not in the bucket yet.",
    },
    {
      name: "PVC",
      type: "string",
      jsonPath: ".metadata.labels.weir\\.storage/pvc-name",
      description: "The claim it was made for.",
      priority: 1,
    },
    age,
  ],
  selectableFields: [".status.node"],
  additions: {
    "": {
      rules: [
        {
          rule:
            "!has(self.spec.source) || !has(self.spec.source.volume) || " +
            "self.spec.source.volume != self.metadata.name",
          message: "a volume cannot be a clone of itself: name another volume in spec.source",
        },
      ],
    },
    spec: {
      rules: [
        {
          rule:
            "has(self.source) == has(oldSelf.source) && " +
            "(!has(self.source) || self.source == oldSelf.source)",
          message: "source cannot change: delete the object and make another one",
        },
      ],
    },
    "spec.size": {
      rules: [
        {
          rule: "quantity(self).isGreaterThan(quantity('0'))",
          message: "size must be more than nothing",
        },
        {
          rule: `quantity(self).compareTo(quantity('${VOLUME_BYTES_MAX_QUANTITY}')) <= 0`,
          message: `size must be ${VOLUME_BYTES_MAX_QUANTITY} or less`,
        },
        {
          rule: "quantity(self).isInteger() && quantity(self).asInteger() % 4096 == 0",
          message: "size must be a multiple of 4096 bytes, such as 512Mi, 10Gi or 1Ti",
        },
        {
          rule: "quantity(self).compareTo(quantity(oldSelf)) >= 0",
          message: "size can only grow: make a smaller volume and copy the data",
        },
      ],
    },
    "spec.source": {
      rules: [
        {
          rule: "has(self.snapshot) != has(self.volume)",
          message: "source must name either a snapshot or a volume",
        },
      ],
    },
    "spec.durability": { rules: [immutable("durability")] },
    "spec.maxDirtyAge": {
      rules: [
        {
          rule: "duration(self) >= duration('10ms') && duration(self) <= duration('24h')",
          message: "maxDirtyAge must be from 10ms to 24h",
        },
      ],
    },
    "spec.persistentVolume.accessModes": { list: "set" },
    "status.conditions": conditions,
    "status.uid": { rules: [immutable("uid")] },
  },
};

const snapshot: CrdDefinition = {
  kind: "Snapshot",
  plural: "snapshots",
  shortName: "wsnap",
  description: "A position of a volume's log that never moves.",
  schema: snapshotSchema.omit({ metadata: true }),
  columns: [
    { name: "Volume", type: "string", jsonPath: ".spec.volume", description: "Whose snapshot." },
    { name: "Size", type: "string", jsonPath: ".status.size", description: "Restore size." },
    state,
    {
      name: "Node",
      type: "string",
      jsonPath: ".status.node",
      description: "The node that takes it.",
      priority: 1,
    },
    age,
  ],
  selectableFields: [".status.node"],
  additions: {
    "spec.volume": { rules: [immutable("volume")] },
    "status.conditions": conditions,
    "status.uid": { rules: [immutable("uid")] },
  },
};

export const definitions: readonly CrdDefinition[] = [volume, snapshot];
