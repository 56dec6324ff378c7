// The one fake of the KubeApi port: an API server in memory, for unit tests and simulation. It does
// what a real server does with versions, generations, finalizers, the status subresource, field
// managers and watches; kube-contract.ts holds both to the same promise. Faults are planted by
// `onCall`, and by the methods that end, stall or expire watches.

import { isDeepStrictEqual } from "node:util";
import { isoSeconds } from "../runtime/iso-time.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { checkAbort } from "../runtime/timer-signals.ts";
import { applyFields, ownersAfterUpdate } from "./fake-apply.ts";
import type { ListKeys, Owners } from "./fake-apply.ts";
import {
  describeFault,
  finalizersOf,
  headOf,
  kindId,
  recordOf,
  refOf,
  specOf,
  stalenessOf,
  systemFields,
  writable,
} from "./fake-object.ts";
import { selects } from "./fake-selectors.ts";
import { FakeHistory } from "./fake-watch.ts";
import type { Change } from "./fake-watch.ts";
import { mergePatch, recordAt } from "./json-values.ts";
import type { JsonRecord } from "./json-values.ts";
import type {
  ApplyOptions,
  Created,
  Kind,
  KubeApi,
  KubeCall,
  KubeEvent,
  KubeObject,
  Listed,
  ListOptions,
  ObjectRef,
  WatchEvent,
  Written,
} from "./kube-api.ts";

/** One request that reached the fake. */
export interface FakeCall {
  readonly verb: "get" | "list" | "watch" | "create" | "apply" | "merge" | "delete" | "record";
  readonly kind: string;
  readonly name?: string | undefined;
  readonly status?: boolean | undefined;
}

export interface FakeKubeOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Lists with `x-kubernetes-list-type: map`, by field name; `conditions` is one already. */
  readonly listKeys?: ListKeys;
  /** Called before each request is served: may throw (a planted fault) or wait (a slow server). */
  readonly onCall?: (call: FakeCall) => void | Promise<void>;
  /** What validation or admission says against an object; undefined lets it pass. */
  readonly refuse?: (object: JsonRecord, before: JsonRecord | undefined) => string | undefined;
}

interface Stored {
  readonly object: JsonRecord;
  readonly owners: Owners;
}

type Write = Extract<Written<JsonRecord>, { kind: "written" | "invalid" }>;

interface Target {
  readonly kind: Kind<KubeObject>;
  readonly id: string;
  readonly key: string;
}

/** The name the server gives to a writer that did not use apply. */
const UPDATER = "weir:update";

export class FakeKube implements KubeApi {
  readonly #options: FakeKubeOptions;
  readonly #listKeys: ListKeys;
  readonly #kinds = new Map<string, Map<string, Stored>>();
  readonly #history = new FakeHistory();
  #version = 0;

  /** Every request so far, in order. */
  readonly calls: FakeCall[] = [];
  /** Every event recorded so far, in order. */
  readonly events: KubeEvent[] = [];

  constructor(options: FakeKubeOptions) {
    this.#options = options;
    this.#listKeys = { conditions: "type", ...options.listKeys };
  }

  get openWatches(): number {
    return this.#history.watchCount;
  }

  /** Ends every open watch, as a restart of the server does. */
  endWatches(): void {
    this.#history.endWatches();
  }

  /** Holds events back from every watch until called with false. */
  stallWatches(stalled: boolean): void {
    this.#history.stall(stalled);
  }

  /** Forgets the changes so far: a watch from an older version is told that it expired. */
  forgetHistory(): void {
    this.#history.forget(this.#version);
  }

  sendBookmarks(): void {
    this.#history.add({ bookmark: this.#version });
  }

  /** Puts an object in place, status included, whatever was there; for a test's arrangement. */
  seed<T extends KubeObject>(kind: Kind<T>, object: object): T {
    const target = this.#target(kind, refOf(object));
    const before = this.#stored(target);
    const next = { ...structuredClone(recordOf(object)), ...headOf(kind) };
    const metadata = { ...recordAt(before?.object, "metadata"), ...recordAt(next, "metadata") };
    const named = before === undefined ? { ...this.#birth(), ...metadata } : metadata;
    const stored = this.#store(target, before, { ...next, metadata: named }, new Map());
    return kind.parse(stored);
  }

  /** Takes an object away at once, finalizers or not; for a test's arrangement. */
  vanish<T extends KubeObject>(kind: Kind<T>, ref: ObjectRef): void {
    const target = this.#target(kind, ref);
    const before = this.#stored(target);
    if (before !== undefined) this.#remove(target, before.object);
  }

  async get<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef,
    call: KubeCall,
  ): Promise<T | undefined> {
    await this.#enter({ verb: "get", kind: kind.kind, name: ref.name }, call);
    const stored = this.#stored(this.#target(kind, ref));
    return stored === undefined ? undefined : kind.parse(structuredClone(stored.object));
  }

  async list<T extends KubeObject>(
    kind: Kind<T>,
    options: ListOptions,
    call: KubeCall,
  ): Promise<Listed<T>> {
    await this.#enter({ verb: "list", kind: kind.kind }, call);
    const all = [...(this.#kinds.get(kindId(kind)) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const items = all
      .filter(([, { object }]) => selects(options, object))
      .map(([, { object }]) => kind.parse(structuredClone(object)));
    return { items, resourceVersion: String(this.#version) };
  }

  async *watch<T extends KubeObject>(
    kind: Kind<T>,
    options: ListOptions & { readonly resourceVersion: string },
    call: KubeCall,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    await this.#enter({ verb: "watch", kind: kind.kind }, call);
    const id = kindId(kind);
    for await (const event of this.#history.follow(Number(options.resourceVersion), call.signal)) {
      if (event.type !== "change") yield event;
      else if (event.change.kindId === id) yield* seenBy(kind, options, event.change);
    }
  }

  async create<T extends KubeObject>(
    kind: Kind<T>,
    object: object,
    call: KubeCall,
  ): Promise<Created<T> | { readonly kind: "invalid"; readonly message: string }> {
    const ref = refOf(object);
    await this.#enter({ verb: "create", kind: kind.kind, name: ref.name }, call);
    const target = this.#target(kind, ref);
    if (this.#stored(target) !== undefined) return { kind: "exists" };
    const next = writable(recordOf(object), "main");
    const owners = this.#ownersAfter(undefined, next, UPDATER);
    const written = this.#commit(target, undefined, { object: next, owners });
    return written.kind === "invalid"
      ? written
      : { kind: "created", object: kind.parse(structuredClone(written.object)) };
  }

  async apply<T extends KubeObject>(
    kind: Kind<T>,
    object: {
      readonly metadata: ObjectRef & object;
      readonly spec?: object;
      readonly status?: object;
    },
    options: ApplyOptions,
    call: KubeCall,
  ): Promise<Written<T>> {
    const { name } = object.metadata;
    const { status = false } = options;
    await this.#enter({ verb: "apply", kind: kind.kind, name, status }, call);
    const target = this.#target(kind, object.metadata);
    const before = this.#stored(target);
    if (before === undefined && status) return { kind: "absent" };
    const stale = stalenessOf(before?.object, options);
    if (stale !== undefined) return stale;
    const applied = applyFields({
      live: before?.object ?? {},
      applied: writable(recordOf(object), status ? "status" : "main"),
      owners: before?.owners ?? new Map(),
      manager: status ? `${options.fieldManager}/status` : options.fieldManager,
      listKeys: this.#listKeys,
    });
    const [conflict] = applied.conflicts;
    if (conflict !== undefined && !options.force) {
      const manager = conflict.manager.split("/")[0];
      const message = `Apply failed with conflict with "${manager}": ${conflict.field}`;
      return { kind: "conflict", message };
    }
    return parsed(kind, this.#commit(target, before, applied));
  }

  async merge<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef,
    patch: object,
    call: KubeCall & { readonly status?: boolean },
  ): Promise<Written<T>> {
    const { status = false } = call;
    await this.#enter({ verb: "merge", kind: kind.kind, name: ref.name, status }, call);
    const target = this.#target(kind, ref);
    const before = this.#stored(target);
    if (before === undefined) return { kind: "absent" };
    const stale = stalenessOf(before.object, recordAt(patch, "metadata"));
    if (stale !== undefined) return stale;
    const change = writable(recordOf(patch), status ? "status" : "main");
    const next = recordOf(mergePatch(before.object, change));
    const owners = this.#ownersAfter(before, next, status ? `${UPDATER}/status` : UPDATER);
    return parsed(kind, this.#commit(target, before, { object: next, owners }));
  }

  async delete<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef & { readonly uid?: string },
    call: KubeCall,
  ): Promise<"deleted" | "absent"> {
    await this.#enter({ verb: "delete", kind: kind.kind, name: ref.name }, call);
    const target = this.#target(kind, ref);
    const before = this.#stored(target);
    const metadata = recordAt(before?.object, "metadata");
    if (before === undefined || (ref.uid !== undefined && ref.uid !== metadata["uid"])) {
      return "absent";
    }
    if (finalizersOf(before.object).length === 0) {
      this.#remove(target, before.object);
    } else if (metadata["deletionTimestamp"] === undefined) {
      const marks = {
        deletionTimestamp: this.#now(),
        deletionGracePeriodSeconds: 0,
        generation: Number(metadata["generation"]) + 1,
      };
      const next = { ...before.object, metadata: { ...metadata, ...marks } };
      this.#store(target, before, next, before.owners);
    }
    return "deleted";
  }

  async record(event: KubeEvent, call: KubeCall): Promise<void> {
    await this.#enter({ verb: "record", kind: "Event", name: event.regarding.name }, call);
    const { name, count } = event.series ?? { name: undefined, count: 1 };
    const isThere = name !== undefined && this.events.some(({ series }) => series?.name === name);
    if (isThere && count === 1) return;
    this.events.push(event);
  }

  async #enter(entry: FakeCall, call: KubeCall): Promise<void> {
    checkAbort(call.signal);
    this.calls.push(entry);
    await this.#options.onCall?.(entry);
    checkAbort(call.signal);
  }

  #target(kind: Kind<KubeObject>, ref: ObjectRef): Target {
    const key = kind.namespaced ? `${ref.namespace ?? "default"}/${ref.name}` : ref.name;
    return { kind, id: kindId(kind), key };
  }

  #stored(target: Target): Stored | undefined {
    return this.#kinds.get(target.id)?.get(target.key);
  }

  #ownersAfter(before: Stored | undefined, after: JsonRecord, manager: string): Owners {
    return ownersAfterUpdate({
      before: writable(before?.object ?? {}, "all"),
      after: writable(after, "all"),
      owners: before?.owners ?? new Map(),
      manager,
      listKeys: this.#listKeys,
    });
  }

  /** Checks what the server checks, then stores; the version moves only when something changed. */
  #commit(target: Target, before: Stored | undefined, next: Stored): Write {
    const own = this.#ownMetadata(target, before, next.object);
    const object: JsonRecord = { ...next.object, ...headOf(target.kind), metadata: own };
    if (before !== undefined && isDeepStrictEqual(before.object, object)) {
      this.#kinds.get(target.id)?.set(target.key, { object: before.object, owners: next.owners });
      return { kind: "written", object: before.object };
    }
    const message = this.#refusal(target, before?.object, object);
    if (message !== undefined) return { kind: "invalid", message };
    const changed = !isDeepStrictEqual(specOf(before?.object), specOf(object));
    if (before !== undefined && changed) own["generation"] = Number(own["generation"]) + 1;
    const stored = this.#store(target, before, object, next.owners);
    if (own["deletionTimestamp"] !== undefined && finalizersOf(object).length === 0) {
      return { kind: "written", object: this.#remove(target, stored) };
    }
    return { kind: "written", object: stored };
  }

  /** What the server itself keeps in the metadata stays; the writer decides on the rest. */
  #ownMetadata(target: Target, before: Stored | undefined, next: JsonRecord): JsonRecord {
    const kept = before === undefined ? this.#birth() : systemFields(before.object);
    const metadata: JsonRecord = { ...recordAt(next, "metadata"), ...kept };
    const [namespace, name] = target.kind.namespaced ? target.key.split("/") : [];
    metadata["name"] = name ?? target.key;
    if (namespace !== undefined) metadata["namespace"] = namespace;
    if (finalizersOf(next).length === 0) delete metadata["finalizers"];
    return metadata;
  }

  #birth(): JsonRecord {
    return { uid: this.#newUid(), generation: 1, creationTimestamp: this.#now() };
  }

  #refusal(target: Target, before: JsonRecord | undefined, next: JsonRecord): string | undefined {
    const old = finalizersOf(before);
    const isAdded = finalizersOf(next).some((name) => !old.includes(name));
    if (recordAt(next, "metadata")["deletionTimestamp"] !== undefined && isAdded) {
      return "metadata.finalizers: no new finalizers can be added if the object is being deleted";
    }
    try {
      const metadata = { ...recordAt(next, "metadata"), resourceVersion: "0" };
      target.kind.parse({ ...next, metadata });
    } catch (error) {
      return `the kind's own schema refuses the object: ${describeFault(error)}`;
    }
    return this.#options.refuse?.(next, before);
  }

  #store(target: Target, before: Stored | undefined, next: JsonRecord, owners: Owners): JsonRecord {
    this.#version += 1;
    const metadata = { ...recordAt(next, "metadata"), resourceVersion: String(this.#version) };
    const object = { ...structuredClone(next), metadata };
    const objects = this.#kinds.get(target.id) ?? new Map<string, Stored>();
    this.#kinds.set(target.id, objects.set(target.key, { object, owners }));
    this.#publish({ kindId: target.id, before: before?.object, after: object, last: undefined });
    return object;
  }

  #remove(target: Target, object: JsonRecord): JsonRecord {
    this.#version += 1;
    this.#kinds.get(target.id)?.delete(target.key);
    const metadata = { ...recordAt(object, "metadata"), resourceVersion: String(this.#version) };
    const last = { ...object, metadata };
    this.#publish({ kindId: target.id, before: object, after: undefined, last });
    return last;
  }

  #publish(change: Omit<Change, "version">): void {
    this.#history.add({ ...change, version: this.#version });
  }

  #newUid(): string {
    const hex = this.#options.random.hex32();
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  #now(): string {
    return isoSeconds(this.#options.clock.wallMs());
  }
}

function parsed<T extends KubeObject>(kind: Kind<T>, write: Write): Written<T> {
  if (write.kind !== "written") return write;
  return { kind: "written", object: kind.parse(structuredClone(write.object)) };
}

/** What a watch with these selectors is told of a change. */
function* seenBy<T extends KubeObject>(
  kind: Kind<T>,
  options: ListOptions,
  change: Change,
): Generator<WatchEvent<T>> {
  const was = change.before !== undefined && selects(options, change.before);
  const is = change.after !== undefined && selects(options, change.after);
  if (!was && !is) return;
  const object = kind.parse(structuredClone(change.after ?? change.last));
  if (was && is) yield { type: "modified", object };
  else yield { type: is ? "added" : "deleted", object };
}
