// Label and field selectors for the fake: equality (`a=b`, `a!=b`) and presence (`a`, `!a`), which
// is what Weir asks for. A field selector may name any field by its path; whether a real server
// serves it is up to the kind (selectableFields of a CRD).

import { isRecord, recordAt } from "./json-values.ts";
import type { ListOptions } from "./kube-api.ts";

export function selects(options: ListOptions, object: unknown): boolean {
  const metadata = recordAt(object, "metadata");
  if (options.namespace !== undefined && metadata["namespace"] !== options.namespace) return false;
  const labels = recordAt(metadata, "labels");
  return (
    termsOf(options.labelSelector).every((term) => holds(term, (name) => labels[name])) &&
    termsOf(options.fieldSelector).every((term) => holds(term, (path) => fieldAt(object, path)))
  );
}

function termsOf(selector: string | undefined): readonly string[] {
  return (selector ?? "").split(",").filter((term) => term !== "");
}

function holds(term: string, read: (name: string) => unknown): boolean {
  const [, name, operator, value] = /^([^=!]+)(==|!=|=)(.*)$/.exec(term) ?? [];
  if (name === undefined) {
    return term.startsWith("!") ? read(term.slice(1)) === undefined : read(term) !== undefined;
  }
  const equal = (read(name) ?? "") === value;
  return operator === "!=" ? !equal : equal;
}

function fieldAt(object: unknown, path: string): unknown {
  let value = object;
  for (const part of path.replace(/^\./, "").split(".")) {
    value = isRecord(value) ? value[part] : undefined;
  }
  return value;
}
