// Where the API server is, and how we prove who we are: from what every pod is given, or from a
// kubeconfig file. Certificates and tokens only; a program to ask for a token, a proxy or another
// identity is refused by name, because going on without it would be someone else's connection.
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { SecureContextOptions } from "node:tls";
import { z } from "zod";
import { messageOf, WeirError } from "../runtime/errors.ts";

/** Mounted into every pod that has a service account. */
const ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

export interface KubeConfig {
  readonly server: string;
  readonly tls: Pick<SecureContextOptions, "ca" | "cert" | "key"> & {
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  readonly token: KubeToken | undefined;
}

/** A pod's token lives for an hour; its file gets the next one before. */
type KubeToken =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "file"; readonly path: string };

const Cluster = z.looseObject({
  server: z.string(),
  "certificate-authority": z.string().optional(),
  "certificate-authority-data": z.string().optional(),
  "insecure-skip-tls-verify": z.boolean().optional(),
  "tls-server-name": z.string().optional(),
});
const User = z.looseObject({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  "client-certificate": z.string().optional(),
  "client-certificate-data": z.string().optional(),
  "client-key": z.string().optional(),
  "client-key-data": z.string().optional(),
});
const Context = z.object({ cluster: z.string(), user: z.string().optional() });
const File = z.object({
  "current-context": z.string(),
  contexts: z.array(z.object({ name: z.string(), context: Context })),
  clusters: z.array(z.object({ name: z.string(), cluster: Cluster })),
  users: z.array(z.object({ name: z.string(), user: User.nullish() })).nullish(),
});

const UNSUPPORTED = ["proxy-url", "exec", "auth-provider", "username", "as", "as-uid", "as-groups"];

/** The kubeconfig file's, or, without one, that of the pod we run in. */
export async function loadKubeConfig(kubeconfigPath: string | undefined): Promise<KubeConfig> {
  if (kubeconfigPath === undefined) return podKubeConfig({ env: process.env });
  try {
    return await readKubeConfig(kubeconfigPath);
  } catch (error) {
    const problem = messageOf(error);
    throw new WeirError("invalid-argument", "the kubeconfig cannot be used: check the file", {
      details: { kubeconfigPath, problem },
      cause: error,
    });
  }
}

/** What a pod is given; `folder` is another one in tests. */
export async function podKubeConfig(pod: {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder?: string;
}): Promise<KubeConfig> {
  const { env, folder = ACCOUNT_FOLDER } = pod;
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"];
  if (host === undefined || port === undefined) {
    const message = "there is no API server to talk to: set KUBECONFIG, or run in a pod";
    throw new WeirError("invalid-argument", message);
  }
  const address = host.includes(":") ? `[${host}]` : host;
  try {
    return {
      server: `https://${address}:${port}`,
      tls: { ca: await readFile(`${folder}/ca.crt`) },
      token: { kind: "file", path: `${folder}/token` },
    };
  } catch (error) {
    const message = "the pod has no service account: set automountServiceAccountToken";
    throw new WeirError("invalid-argument", message, { details: { folder }, cause: error });
  }
}

async function readKubeConfig(path: string): Promise<KubeConfig> {
  const file = File.parse(await contentOf(await readFile(path, "utf8")));
  const context = file.contexts.find(({ name }) => name === file["current-context"])?.context;
  const cluster = file.clusters.find(({ name }) => name === context?.cluster)?.cluster;
  if (cluster === undefined) throw new Error("its current context names no cluster");
  const user = file.users?.find(({ name }) => name === context?.user)?.user ?? {};
  const unsupported = UNSUPPORTED.find((name) => name in cluster || name in user);
  if (unsupported !== undefined) {
    throw new Error(`"${unsupported}" is not supported: use a token or a client certificate`);
  }
  const at = (relative: string): string => resolve(dirname(path), relative);
  const [ca, cert, key] = await Promise.all([
    pemOf(cluster, "certificate-authority", at),
    pemOf(user, "client-certificate", at),
    pemOf(user, "client-key", at),
  ]);
  const servername = cluster["tls-server-name"];
  return {
    server: cluster.server,
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
      ...(servername === undefined ? {} : { servername }),
      ...(cluster["insecure-skip-tls-verify"] === true ? { rejectUnauthorized: false } : {}),
    },
    token: tokenOf(user, at),
  };
}

/** A kubeconfig is YAML, but most programs write JSON, which needs no parser of its own. */
async function contentOf(text: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch {
    const { parse } = await import("yaml");
    return parse(text);
  }
}

async function pemOf(
  holder: Readonly<Record<string, unknown>>,
  name: string,
  at: (relative: string) => string,
): Promise<Buffer | undefined> {
  const [data, path] = [holder[`${name}-data`], holder[name]];
  if (typeof data === "string") return Buffer.from(data, "base64");
  return typeof path === "string" ? readFile(at(path)) : undefined;
}

function tokenOf(
  user: z.infer<typeof User>,
  at: (relative: string) => string,
): KubeToken | undefined {
  // As kubectl: the file counts when both are given.
  if (user.tokenFile !== undefined) return { kind: "file", path: at(user.tokenFile) };
  return user.token === undefined ? undefined : { kind: "text", text: user.token };
}
