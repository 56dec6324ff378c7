// Server-side apply for the fake: who owns which field, and what an apply or an update does to
// that. A field is a path of segments: `f:name` a field, `k:Ready` the entry of a map-like list,
// `v:text` the member of a set-like list. Ownership is kept for leaves only.

import { isDeepStrictEqual } from "node:util";
import { isRecord } from "./json-values.ts";
import type { JsonRecord } from "./json-values.ts";

/** Field name of a list -> the field its entries are keyed by; other lists are atomic. */
export type ListKeys = Readonly<Record<string, string>>;

/** Manager -> the paths it owns, each as `pathKey` writes it. */
export type Owners = Map<string, Set<string>>;

type Path = readonly string[];
type Leaves = Map<string, { readonly path: Path; readonly value: unknown }>;

export interface Applied {
  readonly object: JsonRecord;
  readonly owners: Owners;
  /** Fields of other managers that the apply would have changed, as people write them. */
  readonly conflicts: readonly { readonly manager: string; readonly field: string }[];
}

/** The outcome of an apply; the inputs are not changed. */
export function applyFields(options: {
  readonly live: JsonRecord;
  readonly applied: JsonRecord;
  readonly owners: Owners;
  readonly manager: string;
  readonly listKeys: ListKeys;
}): Applied {
  const { live, applied, manager, listKeys } = options;
  const object = structuredClone(live);
  const owners = copyOwners(options.owners);
  const wanted = leavesOf(applied, listKeys);
  const conflicts: { manager: string; field: string }[] = [];
  for (const [key, { path, value }] of wanted) {
    const found = valueAt(live, path, listKeys);
    // An empty map leaves the entries of a map alone.
    if (isDeepStrictEqual(found, value) || (isRecord(value) && isRecord(found))) continue;
    for (const [other, fields] of owners) {
      if (other === manager || !fields.delete(key)) continue;
      conflicts.push({ manager: other, field: display(path) });
    }
    setAt(object, path, value, listKeys);
  }
  const before = owners.get(manager) ?? new Set();
  owners.set(manager, new Set(wanted.keys()));
  const dropped = [...before].filter(
    (key) => !wanted.has(key) && ![...owners.values()].some((fields) => fields.has(key)),
  );
  // The field that an entry of a list is found by goes last.
  const paths = dropped.map(pathOf);
  const isKey = (path: Path): boolean => isKeyField(path, listKeys);
  for (const path of paths.filter((path) => !isKey(path))) removeAt(object, path, listKeys);
  for (const path of paths.filter(isKey)) removeAt(object, path, listKeys);
  return { object, owners, conflicts };
}

/** Who owns what after `manager` replaced `before` by `after` without apply. */
export function ownersAfterUpdate(options: {
  readonly before: JsonRecord;
  readonly after: JsonRecord;
  readonly owners: Owners;
  readonly manager: string;
  readonly listKeys: ListKeys;
}): Owners {
  const owners = copyOwners(options.owners);
  const before = leavesOf(options.before, options.listKeys);
  const after = leavesOf(options.after, options.listKeys);
  const mine = owners.get(options.manager) ?? new Set();
  owners.set(options.manager, mine);
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    if (isDeepStrictEqual(before.get(key)?.value, after.get(key)?.value)) continue;
    for (const fields of owners.values()) fields.delete(key);
    if (after.has(key)) mine.add(key);
  }
  return owners;
}

function copyOwners(owners: Owners): Owners {
  return new Map([...owners].map(([manager, fields]) => [manager, new Set(fields)]));
}

function leavesOf(object: JsonRecord, listKeys: ListKeys): Leaves {
  const leaves: Leaves = new Map();
  collect(object, [], listKeys, leaves);
  return leaves;
}

function collect(value: unknown, path: Path, listKeys: ListKeys, leaves: Leaves): void {
  const field = path.at(-1)?.slice(2) ?? "";
  if (Array.isArray(value) && field === "finalizers") {
    for (const item of value) addLeaf(leaves, [...path, `v:${String(item)}`], item);
    return;
  }
  const key = listKeys[field];
  if (Array.isArray(value) && key !== undefined) {
    for (const item of value) {
      if (isRecord(item)) collect(item, [...path, `k:${String(item[key])}`], listKeys, leaves);
    }
    return;
  }
  if (!isRecord(value) || Object.keys(value).length === 0) {
    if (path.length > 0) addLeaf(leaves, path, value);
    return;
  }
  for (const [name, child] of Object.entries(value)) {
    if (child !== undefined) collect(child, [...path, `f:${name}`], listKeys, leaves);
  }
}

function addLeaf(leaves: Leaves, path: Path, value: unknown): void {
  leaves.set(pathKey(path), { path, value });
}

function pathKey(path: Path): string {
  return path.join("\u001F");
}

function pathOf(key: string): Path {
  return key.split("\u001F");
}

function display(path: Path): string {
  return path.map((part) => (part.startsWith("f:") ? `.${part.slice(2)}` : `[${part}]`)).join("");
}

function valueAt(object: unknown, path: Path, listKeys: ListKeys): unknown {
  let value = object;
  for (const [index, part] of path.entries()) {
    const name = part.slice(2);
    if (part.startsWith("f:")) value = isRecord(value) ? value[name] : undefined;
    else if (part.startsWith("v:")) value = listOf(value).find((item) => item === name);
    else value = entryOf(listOf(value), keyOfList(path, index, listKeys), name);
  }
  return value;
}

function isKeyField(path: Path, listKeys: ListKeys): boolean {
  const parent = path.length - 2;
  if (path[parent]?.startsWith("k:") !== true) return false;
  return path.at(-1) === `f:${keyOfList(path, parent, listKeys)}`;
}

/** The key field of the list that the segment at `index` is an entry of. */
function keyOfList(path: Path, index: number, listKeys: ListKeys): string {
  return listKeys[path[index - 1]?.slice(2) ?? ""] ?? "";
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function entryOf(list: readonly unknown[], key: string, name: string): JsonRecord | undefined {
  return list.filter((item) => isRecord(item)).find((item) => String(item[key]) === name);
}

function setAt(record: JsonRecord, path: Path, value: unknown, listKeys: ListKeys): void {
  const field = path[0]?.slice(2) ?? "";
  const next = path[1];
  if (next === undefined) {
    record[field] = structuredClone(value);
    return;
  }
  const rest = path.slice(1);
  if (next.startsWith("v:")) {
    record[field] = [...listOf(record[field]), value];
    return;
  }
  if (next.startsWith("k:")) {
    const key = keyOfList(path, 1, listKeys);
    const entry = entryOf(listOf(record[field]), key, next.slice(2)) ?? { [key]: next.slice(2) };
    const others = listOf(record[field]);
    record[field] = others.includes(entry) ? others : [...others, entry];
    setAt(entry, rest.slice(1), value, listKeys);
    return;
  }
  const child = record[field];
  const inner: JsonRecord = isRecord(child) ? child : {};
  record[field] = inner;
  setAt(inner, rest, value, listKeys);
}

/** Removes a leaf, and what becomes empty by that. */
function removeAt(record: JsonRecord, path: Path, listKeys: ListKeys): void {
  const field = path[0]?.slice(2) ?? "";
  const next = path[1];
  if (next === undefined) {
    delete record[field];
    return;
  }
  const child = record[field];
  if (next.startsWith("f:")) {
    if (!isRecord(child)) return;
    removeAt(child, path.slice(1), listKeys);
    if (Object.keys(child).length === 0) delete record[field];
    return;
  }
  let list = listOf(child);
  if (next.startsWith("v:")) {
    list = list.filter((item) => item !== next.slice(2));
  } else {
    const entry = entryOf(list, keyOfList(path, 1, listKeys), next.slice(2));
    if (entry === undefined) return;
    removeAt(entry, path.slice(2), listKeys);
    if (Object.keys(entry).length === 0) list = list.filter((item) => item !== entry);
  }
  if (list.length === 0) delete record[field];
  else record[field] = list;
}
