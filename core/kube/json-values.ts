// Plain JSON as it travels between Weir and the API server: telling objects apart, and the merge
// patch of RFC 7386.

export type JsonRecord = Record<string, unknown>;

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The object under a field; an empty one when there is none. */
export function recordAt(value: unknown, field: string): JsonRecord {
  const found = isRecord(value) ? value[field] : undefined;
  return isRecord(found) ? found : {};
}

export function textAt(value: unknown, field: string): string | undefined {
  const found = isRecord(value) ? value[field] : undefined;
  return typeof found === "string" ? found : undefined;
}

/** The target with the patch applied; neither is changed. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const merged: JsonRecord = isRecord(target) ? { ...target } : {};
  for (const [field, change] of Object.entries(patch)) {
    if (change === null) delete merged[field];
    else if (change !== undefined) merged[field] = mergePatch(merged[field], change);
  }
  return merged;
}
