// The KubeApi port on a real API server.

import { z } from "zod";
import { WeirError } from "../runtime/errors.ts";
import { isoMicros } from "../runtime/iso-time.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { isRecord, recordAt } from "./json-values.ts";
import { apiVersionOf } from "./kind.ts";
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
import { jsonOf, unexpected, watchErrorOf } from "./kube-answers.ts";
import type { Refusal } from "./kube-answers.ts";
import { KubeHttp } from "./kube-http.ts";
import type { HttpAnswer, KubeHttpOptions } from "./kube-http.ts";
import { linesOf } from "./kube-lines.ts";
import { collectionPath, objectPath } from "./kube-paths.ts";

const APPLY_TYPE = "application/apply-patch+yaml";
const MERGE_TYPE = "application/merge-patch+json";
const JSON_TYPE = "application/json";
const PAGE_ITEMS = 500;

/** The server ends a watch after this long, up to a fifth more by chance. */
const WATCH_SECONDS = 240;
/** For the server's own end of a watch to reach us. */
const WATCH_GRACE_MS = 15_000;
/** Servers send a bookmark each minute; a watch that saw one has stalled when none follows. */
const STALL_MS = 100_000;

const EVENTS = {
  group: "events.k8s.io",
  version: "v1",
  plural: "events",
  namespaced: true,
} as const;
/** Events on cluster-scoped objects live here, where `kubectl describe` looks for them. */
const EVENT_NAMESPACE = "default";
const EVENT_NOTE_LENGTH_MAX = 1024;

const ListSchema = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullable(),
});
const WatchLineSchema = z.object({ type: z.string(), object: z.unknown() });

export interface ClientKubeOptions extends KubeHttpOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Who reports events: `csi.weir.storage`. */
  readonly reportingController: string;
  /** Which of its instances: the pod's name. */
  readonly reportingInstance: string;
}

export class ClientKube implements KubeApi, Disposable {
  readonly #options: ClientKubeOptions;
  readonly #http: KubeHttp;

  constructor(options: ClientKubeOptions) {
    this.#options = options;
    this.#http = new KubeHttp(options);
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }

  async get<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef,
    call: KubeCall,
  ): Promise<T | undefined> {
    const path = objectPath(kind, ref);
    const answer = jsonOf(await this.#http.call({ method: "GET", path }, call.signal));
    if (answer.kind === "success") return kind.parse(answer.json);
    if (answer.kind === "absent") return undefined;
    throw unexpected(answer);
  }

  async list<T extends KubeObject>(
    kind: Kind<T>,
    options: ListOptions,
    call: KubeCall,
  ): Promise<Listed<T>> {
    const items: T[] = [];
    for (let next: string | undefined; ;) {
      const query = { ...selectors(options), limit: String(PAGE_ITEMS), continue: next };
      const path = collectionPath(kind, options.namespace, query);
      const answer = jsonOf(await this.#http.call({ method: "GET", path }, call.signal));
      if (answer.kind !== "success") throw unexpected(answer);
      const page = ListSchema.safeParse(answer.json);
      if (!page.success) throw cut("a list of another shape", page.error);
      const { metadata, items: found } = page.data;
      for (const item of found ?? []) items.push(kind.parse(item));
      next = metadata.continue;
      if (next === undefined || next === "") {
        return { items, resourceVersion: metadata.resourceVersion };
      }
    }
  }

  async *watch<T extends KubeObject>(
    kind: Kind<T>,
    options: ListOptions & { readonly resourceVersion: string },
    call: KubeCall,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const seconds = Math.floor(WATCH_SECONDS * (1 + this.#options.random.fraction() / 5));
    const path = collectionPath(kind, options.namespace, {
      ...selectors(options),
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: options.resourceVersion,
      timeoutSeconds: String(seconds),
    });
    let stallMs = seconds * 1000 + WATCH_GRACE_MS;
    const request = { method: "GET", path } as const;
    const { status, chunks } = await this.#http.stream(request, call.signal, () => stallMs);
    if (status === 410) {
      yield { type: "expired" };
      return;
    }
    for await (const line of linesOf(chunks)) {
      if (status !== 200) throw unexpected(refusalIn({ status, text: line }));
      const event = eventOf(kind, line);
      if (event.type === "bookmark") stallMs = STALL_MS;
      yield event;
      if (event.type === "expired") return;
    }
  }

  async create<T extends KubeObject>(
    kind: Kind<T>,
    object: object,
    call: KubeCall,
  ): Promise<Created<T> | { readonly kind: "invalid"; readonly message: string }> {
    const namespace = recordAt(object, "metadata")["namespace"];
    const folder = typeof namespace === "string" ? namespace : "default";
    const json = { ...object, apiVersion: apiVersionOf(kind), kind: kind.kind };
    const path = collectionPath(kind, folder, {});
    const request = { method: "POST", path, body: { contentType: JSON_TYPE, json } } as const;
    const answer = jsonOf(await this.#http.call(request, call.signal));
    if (answer.kind === "success") return { kind: "created", object: kind.parse(answer.json) };
    if (answer.kind === "exists" || answer.kind === "invalid") return answer;
    throw unexpected(answer);
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
    const { fieldManager, force, status, resourceVersion } = options;
    const query = { fieldManager, force: String(force) };
    const version = resourceVersion === undefined ? {} : { resourceVersion };
    const json = {
      ...object,
      apiVersion: apiVersionOf(kind),
      kind: kind.kind,
      metadata: { ...object.metadata, ...version },
    };
    const path = objectPath(kind, object.metadata, { status, query });
    const body = { contentType: APPLY_TYPE, json };
    return written(kind, await this.#http.call({ method: "PATCH", path, body }, call.signal));
  }

  async merge<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef,
    patch: object,
    call: KubeCall & { readonly status?: boolean },
  ): Promise<Written<T>> {
    const path = objectPath(kind, ref, { status: call.status });
    const body = { contentType: MERGE_TYPE, json: patch };
    return written(kind, await this.#http.call({ method: "PATCH", path, body }, call.signal));
  }

  async delete<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef & { readonly uid?: string },
    call: KubeCall,
  ): Promise<"deleted" | "absent"> {
    const preconditions = ref.uid === undefined ? {} : { preconditions: { uid: ref.uid } };
    const json = { apiVersion: "v1", kind: "DeleteOptions", ...preconditions };
    const body = { contentType: JSON_TYPE, json };
    const request = { method: "DELETE", path: objectPath(kind, ref), body } as const;
    const answer = jsonOf(await this.#http.call(request, call.signal));
    if (answer.kind === "success") return "deleted";
    // The object with that uid is gone; another one has its name.
    if (answer.kind === "conflict" && ref.uid !== undefined) return "absent";
    if (answer.kind === "absent") return "absent";
    throw unexpected(answer);
  }

  async record(event: KubeEvent, call: KubeCall): Promise<void> {
    const { clock, random } = this.#options;
    const count = event.series?.count ?? 1;
    const name = event.series?.name ?? `${event.regarding.name}.${random.hex32().slice(0, 16)}`;
    const ref = { name, namespace: event.regarding.namespace ?? EVENT_NAMESPACE };
    const series = { count, lastObservedTime: isoMicros(clock.wallMs()) };
    if (count > 1) {
      const body = { contentType: MERGE_TYPE, json: { series } };
      const request = { method: "PATCH", path: objectPath(EVENTS, ref), body } as const;
      const answer = jsonOf(await this.#http.call(request, call.signal));
      if (answer.kind === "success") return;
      // Events live for an hour; the next of a long series begins a new one.
      if (answer.kind !== "absent") throw unexpected(answer);
    }
    const json = this.#eventJson(event, ref);
    const path = collectionPath(EVENTS, ref.namespace, {});
    const request = { method: "POST", path, body: { contentType: JSON_TYPE, json } } as const;
    const answer = jsonOf(await this.#http.call(request, call.signal));
    if (answer.kind !== "success" && answer.kind !== "exists") throw unexpected(answer);
  }

  #eventJson(event: KubeEvent, ref: ObjectRef): object {
    const { series: _, note, ...told } = event;
    return {
      apiVersion: apiVersionOf(EVENTS),
      kind: "Event",
      metadata: ref,
      eventTime: isoMicros(this.#options.clock.wallMs()),
      reportingController: this.#options.reportingController,
      reportingInstance: this.#options.reportingInstance,
      note: note.slice(0, EVENT_NOTE_LENGTH_MAX),
      ...told,
    };
  }
}

function selectors(options: ListOptions): Record<string, string | undefined> {
  return { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

function written<T extends KubeObject>(kind: Kind<T>, answer: HttpAnswer): Written<T> {
  const outcome = jsonOf(answer);
  if (outcome.kind === "success") return { kind: "written", object: kind.parse(outcome.json) };
  if (outcome.kind !== "exists") return outcome;
  // Two applies created the object at once, and this one lost.
  return { kind: "conflict", message: "the object was created by another writer just now" };
}

function refusalIn(answer: HttpAnswer): Refusal {
  const outcome = jsonOf(answer);
  if (outcome.kind !== "success") return outcome;
  throw new WeirError("internal", "a refused watch is not a success");
}

function eventOf<T extends KubeObject>(kind: Kind<T>, line: string): WatchEvent<T> {
  const parsed = WatchLineSchema.safeParse(jsonIn(line));
  if (!parsed.success) throw cut("a line that is no event", parsed.error);
  const { type, object } = parsed.data;
  switch (type) {
    case "ADDED":
      return { type: "added", object: kind.parse(object) };
    case "MODIFIED":
      return { type: "modified", object: kind.parse(object) };
    case "DELETED":
      return { type: "deleted", object: kind.parse(object) };
    case "BOOKMARK": {
      const version = isRecord(object) ? recordAt(object, "metadata")["resourceVersion"] : "";
      return { type: "bookmark", resourceVersion: String(version) };
    }
    case "ERROR": {
      const error = watchErrorOf(object);
      if (error === "expired") return { type: "expired" };
      throw error;
    }
    default:
      throw cut(`an event of the unknown type ${type}`);
  }
}

function jsonIn(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw cut("a line that is not JSON", error);
  }
}

function cut(problem: string, cause?: unknown): WeirError {
  return new WeirError("kube-unavailable", "the API server's answer broke off or makes no sense", {
    details: { problem },
    cause,
  });
}
