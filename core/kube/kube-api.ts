// The Kubernetes API as Weir sees it: a port. The real one (client-kube.ts) speaks to an API
// server, the one fake (fake-kube.ts) serves unit tests and simulation. Expected outcomes are
// unions; everything else is a WeirError (`kube-unavailable` when a retry may help).

export interface ObjectRef {
  readonly name: string;
  /** Absent for cluster-scoped kinds. */
  readonly namespace?: string | undefined;
}

interface ObjectMeta extends ObjectRef {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation?: number | undefined;
  readonly creationTimestamp?: string | undefined;
  readonly deletionTimestamp?: string | undefined;
  readonly finalizers?: readonly string[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** What every kind has; a kind's own schema adds spec and status. */
export interface KubeObject {
  readonly metadata: ObjectMeta;
}

/** `namespace/name`, or `name` for cluster-scoped kinds: what caches and queues know it by. */
export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** One kind, with the check that stands between the wire and the code. */
export interface Kind<T extends KubeObject> {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Throws WeirError `internal` naming the object when it is not of this kind's shape. */
  parse(value: unknown): T;
}

export interface ListOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface Listed<T> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
}

export type WatchEvent<T> =
  | { readonly type: "added" | "modified" | "deleted"; readonly object: T }
  | { readonly type: "bookmark"; readonly resourceVersion: string }
  /** The resourceVersion is too old: list again. Always the last event. */
  | { readonly type: "expired" };

export type Created<T> =
  | { readonly kind: "created"; readonly object: T }
  | { readonly kind: "exists" };

export type Written<T> =
  | { readonly kind: "written"; readonly object: T }
  /** Another field manager owns a field (apply without force), or the resourceVersion moved on. */
  | { readonly kind: "conflict"; readonly message: string }
  /** The API server refused the content: validation, admission, quota. */
  | { readonly kind: "invalid"; readonly message: string }
  | { readonly kind: "absent" };

export interface ApplyOptions {
  /** Stable per component: `weir-operator`, `weir-csi`, `weir-node`. */
  readonly fieldManager: string;
  /** Take over fields another manager owns; false for what people write. */
  readonly force: boolean;
  /** Only the status subresource is written. */
  readonly status?: boolean;
  /** Set: the apply is refused as a conflict unless the object still has this version. */
  readonly resourceVersion?: string;
}

/** What an event tells a person who runs `kubectl describe`. */
export interface KubeEvent {
  readonly regarding: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly name: string;
    readonly namespace?: string | undefined;
    readonly uid: string;
  };
  readonly type: "Normal" | "Warning";
  /** CamelCase. */
  readonly reason: string;
  /** One sentence a user can act on; never a secret. */
  readonly note: string;
  readonly action: string;
  /**
   * The event is the `count`-th of equal ones, which share a name. A first one whose name is taken
   * is there already.
   */
  readonly series?: { readonly name: string; readonly count: number };
}

export interface KubeCall {
  readonly signal: AbortSignal;
}

export interface KubeApi {
  get<T extends KubeObject>(kind: Kind<T>, ref: ObjectRef, call: KubeCall): Promise<T | undefined>;
  list<T extends KubeObject>(
    kind: Kind<T>,
    options: ListOptions,
    call: KubeCall,
  ): Promise<Listed<T>>;
  /** Ends when the server ends it, or the signal; a stall longer than the port's limit throws. */
  watch<T extends KubeObject>(
    kind: Kind<T>,
    options: ListOptions & { readonly resourceVersion: string },
    call: KubeCall,
  ): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(
    kind: Kind<T>,
    object: object,
    call: KubeCall,
  ): Promise<Created<T> | { readonly kind: "invalid"; readonly message: string }>;
  /** Server-side apply: `object` carries metadata.name and only the fields its manager owns. */
  apply<T extends KubeObject>(
    kind: Kind<T>,
    object: {
      readonly metadata: ObjectRef & object;
      readonly spec?: object;
      readonly status?: object;
    },
    options: ApplyOptions,
    call: KubeCall,
  ): Promise<Written<T>>;
  /** A JSON merge patch (RFC 7386); carries metadata.resourceVersion when it must not race. */
  merge<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef,
    patch: object,
    call: KubeCall & { readonly status?: boolean },
  ): Promise<Written<T>>;
  delete<T extends KubeObject>(
    kind: Kind<T>,
    ref: ObjectRef & { readonly uid?: string },
    call: KubeCall,
  ): Promise<"deleted" | "absent">;
  /** events.k8s.io/v1. Losing one is no fault: it is logged. */
  record(event: KubeEvent, call: KubeCall): Promise<void>;
}
