// How a kind is declared: its place in the API, and a zod schema as the check at the edge.

import { z } from "zod";
import { WeirError } from "../runtime/errors.ts";
import { recordAt, textAt } from "./json-values.ts";
import type { Kind, KubeObject } from "./kube-api.ts";

/** The metadata of any object, for schemas of kinds. Fields not named here are dropped. */
export const MetadataSchema = z.object({
  name: z.string(),
  namespace: z.string().optional(),
  uid: z.string(),
  resourceVersion: z.string(),
  generation: z.number().optional(),
  creationTimestamp: z.string().optional(),
  deletionTimestamp: z.string().optional(),
  finalizers: z.array(z.string()).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

export interface KindOptions<T extends KubeObject> {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly schema: z.ZodType<T>;
}

export function defineKind<T extends KubeObject>(options: KindOptions<T>): Kind<T> {
  const { schema, ...place } = options;
  return { ...place, parse: (value) => parseObject(schema, place.kind, value) };
}

/** `weir.storage/v1alpha1`, or `v1` for the core group. */
export function apiVersionOf(kind: Pick<Kind<KubeObject>, "group" | "version">): string {
  return kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
}

function parseObject<T>(schema: z.ZodType<T>, kind: string, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new WeirError("internal", "an object from the API server has not the shape of its kind", {
    details: {
      kind,
      name: textAt(recordAt(value, "metadata"), "name"),
      field: issue?.path.join("."),
      problem: issue?.message,
    },
  });
}
