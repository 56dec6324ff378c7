// Lists in pages. A token names the last entry of the page before, so entries that come and go
// between two pages disturb no other.
import { WeirError } from "../../core/runtime/errors.ts";

const TOKEN = /^after:(?<name>[a-z0-9-]{1,63})$/u;

export interface Page<T> {
  readonly entries: readonly T[];
  readonly nextToken: string;
}

/** In the order of names. */
export function pageOf<T extends { readonly metadata: { readonly name: string } }>(
  objects: readonly T[],
  request: { readonly maxEntries: number; readonly startingToken: string },
): Page<T> {
  const { maxEntries, startingToken } = request;
  if (maxEntries < 0) {
    throw new WeirError("invalid-argument", "max_entries must not be negative");
  }
  const after = startingToken === "" ? "" : parseToken(startingToken);
  const rest = objects.filter(({ metadata }) => metadata.name > after).toSorted(byName);
  if (maxEntries === 0 || rest.length <= maxEntries) return { entries: rest, nextToken: "" };
  const entries = rest.slice(0, maxEntries);
  return { entries, nextToken: `after:${entries.at(-1)?.metadata.name ?? ""}` };
}

function parseToken(token: string): string {
  const name = TOKEN.exec(token)?.groups?.["name"];
  if (name !== undefined) return name;
  throw new WeirError("aborted", "the starting token is not one of ours: list from the beginning");
}

function byName(
  a: { readonly metadata: { readonly name: string } },
  b: { readonly metadata: { readonly name: string } },
): number {
  return a.metadata.name < b.metadata.name ? -1 : 1;
}
