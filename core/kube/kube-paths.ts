// Where the objects of a kind stand in the API server's tree.

import type { Kind, KubeObject, ObjectRef } from "./kube-api.ts";

type Place = Pick<Kind<KubeObject>, "group" | "version" | "plural" | "namespaced">;

export type Query = Readonly<Record<string, string | undefined>>;

export function collectionPath(kind: Place, namespace: string | undefined, query: Query): string {
  const root = kind.group === "" ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const folder =
    kind.namespaced && namespace !== undefined
      ? `/namespaces/${encodeURIComponent(namespace)}`
      : "";
  return `${root}${folder}/${kind.plural}${queryText(query)}`;
}

export function objectPath(
  kind: Place,
  ref: ObjectRef,
  options: { readonly status?: boolean | undefined; readonly query?: Query } = {},
): string {
  const folder = collectionPath(kind, ref.namespace ?? "default", {});
  const subresource = options.status === true ? "/status" : "";
  const name = encodeURIComponent(ref.name);
  return `${folder}/${name}${subresource}${queryText(options.query ?? {})}`;
}

function queryText(query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) search.set(name, value);
  }
  return search.size === 0 ? "" : `?${search.toString()}`;
}
