// Opens the store that a URL names:
//   file:///absolute/path
//   s3://bucket/prefix?region=REGION&endpoint=URL&insecure=true
//   memory:
// Every mistake in a URL gets one sentence that says how to mend it. Credentials never stand in a
// URL.

import { z } from "zod";
import { unreachable } from "../runtime/assert.ts";
import { WeirError } from "../runtime/errors.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { DirectoryStore } from "./directory-store.ts";
import { MemoryStore } from "./memory-store.ts";
import type { ObjectStore } from "./object-store.ts";
import type { S3Credentials } from "./s3-store.ts";
import { isKey } from "./store-arguments.ts";

export type StoreLocation =
  | { readonly kind: "memory" }
  | { readonly kind: "directory"; readonly path: string }
  | {
      readonly kind: "s3";
      readonly bucket: string;
      readonly prefix: string;
      readonly endpoint?: string | undefined;
      readonly region?: string | undefined;
    };

export interface OpenStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Undefined: from the environment, files or metadata service, as AWS's tools do. */
  readonly credentials?: S3Credentials;
}

const ENDPOINT = /^https?:\/\/[^/?#@]+\/?$/u;

const S3Parameters = z
  .strictObject({
    endpoint: z
      .string()
      .refine((text) => ENDPOINT.test(text) && URL.canParse(text), {
        error: "must look like http://host:port or https://host",
      })
      .optional(),
    region: z
      .string()
      .regex(/^[a-z0-9-]+$/u, "must be a name such as us-east-1")
      .optional(),
    insecure: z.enum(["true", "false"], { error: "must be true or false" }).optional(),
  })
  .refine(
    ({ endpoint, insecure }) =>
      endpoint === undefined || insecure === "true" || isPrivate(endpoint),
    {
      path: ["endpoint"],
      message: "sends data in the clear over the network; use https, or add insecure=true",
    },
  );

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/u;

/** Loads the client of S3, half of a program's start, only for who needs it. */
export async function openStore(url: string, options: OpenStoreOptions): Promise<ObjectStore> {
  const { clock, random, credentials } = options;
  const location = parseStoreUrl(url);
  switch (location.kind) {
    case "memory":
      return new MemoryStore({ clock });
    case "directory":
      return new DirectoryStore({ root: location.path, clock, random });
    case "s3": {
      const { S3Store } = await import("./s3-store.ts");
      const { bucket, prefix, endpoint, region } = location;
      return new S3Store({
        bucket,
        prefix,
        clock,
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(region === undefined ? {} : { region }),
        ...(credentials === undefined ? {} : { credentials }),
      });
    }
    default:
      return unreachable(location);
  }
}

export function parseStoreUrl(text: string): StoreLocation {
  const url = URL.parse(text);
  if (url === null) {
    throw mistake(text, "must be a URL such as s3://bucket/prefix or file:///path");
  }
  if (url.username !== "" || url.password !== "") {
    throw mistake("", "must not hold credentials; give them in the configuration or environment");
  }
  if (url.hash !== "") throw mistake(text, "must not hold a '#'");
  switch (url.protocol) {
    case "memory:":
      return memoryLocation(text, url);
    case "file:":
      return directoryLocation(text, url);
    case "s3:":
      return s3Location(text, url);
    default:
      throw mistake(text, "must begin with s3://, file:// or memory:");
  }
}

function memoryLocation(text: string, url: URL): StoreLocation {
  if (url.href !== "memory:") throw mistake(text, "of a store in memory is just memory:");
  return { kind: "memory" };
}

function directoryLocation(text: string, url: URL): StoreLocation {
  if (url.host !== "" || !text.startsWith("file:///")) {
    throw mistake(text, "of a directory needs three slashes and an absolute path: file:///path");
  }
  if (url.search !== "") throw mistake(text, "of a directory takes no parameters");
  const path = decodePath(text, url.pathname);
  if (path.length < 2 || path.includes("\0")) throw mistake(text, "must name a directory");
  return { kind: "directory", path: path.replace(/\/+$/u, "") };
}

function s3Location(text: string, url: URL): StoreLocation {
  const bucket = url.host;
  if (bucket === "") throw mistake(text, "must name a bucket: s3://bucket/prefix");
  if (!BUCKET.test(bucket)) {
    throw mistake(text, "names a bucket that cannot be: use 3 to 63 of a-z, 0-9, '.' and '-'");
  }
  const prefix = decodePath(text, url.pathname).replace(/^\/|\/$/gu, "");
  if (prefix !== "" && !isKey(prefix)) {
    throw mistake(text, "has a prefix with other characters than a-z, 0-9, '.', '_', '-' and '/'");
  }
  const names = [...url.searchParams.keys()];
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw mistake(text, `gives \`${twice}\` twice`);
  const parsed = S3Parameters.safeParse(Object.fromEntries(url.searchParams));
  if (!parsed.success) throw mistake(text, firstIssue(parsed.error));
  const { endpoint, region } = parsed.data;
  return { kind: "s3", bucket, prefix, endpoint, region };
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue?.code === "unrecognized_keys") {
    const [name = ""] = issue.keys;
    return `has the unknown parameter \`${name}\`; known are endpoint, region and insecure`;
  }
  return `has a parameter \`${String(issue?.path[0])}\` that ${issue?.message ?? "is wrong"}`;
}

function decodePath(text: string, path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw mistake(text, "has a path with a broken % escape");
  }
}

/** Encrypted on the way, or never on a network. */
function isPrivate(endpoint: string): boolean {
  const url = URL.parse(endpoint);
  // What is no URL has its own sentence.
  if (url === null || url.protocol === "https:") return true;
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/u.test(url.hostname);
}

function mistake(text: string, what: string): WeirError {
  const details = text === "" ? {} : { url: text };
  return new WeirError("invalid-argument", `the store's URL ${what}`, { details });
}
