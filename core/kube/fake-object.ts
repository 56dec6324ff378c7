// What the fake API server knows of an object's parts: which fields the server keeps, which a
// writer may set, and which belong to the status subresource.

import { isDeepStrictEqual } from "node:util";
import { WeirError } from "../runtime/errors.ts";
import { assert } from "../runtime/assert.ts";
import { isRecord, recordAt, textAt } from "./json-values.ts";
import type { JsonRecord } from "./json-values.ts";
import { apiVersionOf } from "./kind.ts";
import type { Kind, KubeObject, ObjectRef } from "./kube-api.ts";

const SYSTEM_FIELDS = [
  "uid",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "resourceVersion",
];
const IDENTITY_FIELDS = new Set([...SYSTEM_FIELDS, "name", "namespace", "managedFields"]);

export function recordOf(object: unknown): JsonRecord {
  assert(isRecord(object), "an object for the API server is a JSON object");
  return object;
}

export function refOf(object: unknown): ObjectRef {
  const metadata = recordAt(object, "metadata");
  const name = textAt(metadata, "name");
  assert(name !== undefined, "an object for the API server has a name");
  return { name, namespace: textAt(metadata, "namespace") };
}

export function kindId(kind: Kind<KubeObject>): string {
  return `${kind.plural}.${kind.group}`;
}

export function headOf(kind: Kind<KubeObject>): JsonRecord {
  return { apiVersion: apiVersionOf(kind), kind: kind.kind };
}

/**
 * The part of a written object that counts: without what the server keeps, and with either the
 * status (`status`), or everything else (`main`), or both.
 */
export function writable(object: JsonRecord, part: "main" | "status" | "all"): JsonRecord {
  const { apiVersion: _, kind: __, metadata, status, ...main } = structuredClone(object);
  const own = Object.entries(isRecord(metadata) ? metadata : {});
  const kept = own.filter(([field]) => !IDENTITY_FIELDS.has(field));
  return {
    ...(part === "status" ? {} : main),
    ...(part === "status" || kept.length === 0 ? {} : { metadata: Object.fromEntries(kept) }),
    ...(part === "main" || status === undefined ? {} : { status }),
  };
}

/** The metadata that only the server sets. */
export function systemFields(object: JsonRecord): JsonRecord {
  const metadata = recordAt(object, "metadata");
  return Object.fromEntries(SYSTEM_FIELDS.flatMap((field) => entryOf(metadata, field)));
}

export function finalizersOf(object: JsonRecord | undefined): readonly unknown[] {
  const finalizers = recordAt(object, "metadata")["finalizers"];
  return Array.isArray(finalizers) ? finalizers : [];
}

/** What `generation` counts the changes of. */
export function specOf(object: JsonRecord | undefined): JsonRecord {
  const { metadata: _, status: __, ...rest } = object ?? {};
  return rest;
}

/** The conflict that a precondition of a write (version, uid) finds; undefined when all hold. */
export function stalenessOf(
  object: JsonRecord | undefined,
  wanted: { readonly resourceVersion?: unknown; readonly uid?: unknown },
): { readonly kind: "conflict"; readonly message: string } | undefined {
  const metadata = recordAt(object, "metadata");
  for (const field of ["resourceVersion", "uid"] as const) {
    if (wanted[field] === undefined || isDeepStrictEqual(wanted[field], metadata[field])) continue;
    const message = "the object has been modified; apply your changes to the latest version";
    return { kind: "conflict", message: `${message} (${field})` };
  }
  return undefined;
}

export function describeFault(error: unknown): string {
  if (error instanceof WeirError) return `${error.message} ${JSON.stringify(error.details)}`;
  return String(error);
}

function entryOf(record: JsonRecord, field: string): [string, unknown][] {
  return record[field] === undefined ? [] : [[field, record[field]]];
}
