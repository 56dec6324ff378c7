// Goal: a pod's service account and the kubeconfigs that people have become a connection that says
// who we are, and what is not supported is refused by its name. Method: files in a temporary
// folder; a token is followed by an HTTP server that looks at the header.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { loadKubeConfig, podKubeConfig } from "./kube-config.ts";
import { KubeHttp } from "./kube-http.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-kube-config-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

const cluster = { server: "https://api:6443", "certificate-authority-data": btoa("the CA") };

function configOf(more: { readonly cluster?: object; readonly user?: object }): object {
  return {
    "current-context": "here",
    contexts: [
      { name: "there", context: { cluster: "other", user: "other" } },
      { name: "here", context: { cluster: "c", user: "u" } },
    ],
    clusters: [
      { name: "other", cluster: { server: "https://other" } },
      { name: "c", cluster: { ...cluster, ...more.cluster } },
    ],
    users: [{ name: "u", user: more.user ?? { token: "the-token" } }],
  };
}

async function load(content: object | string): ReturnType<typeof loadKubeConfig> {
  const path = join(folder, "config");
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return loadKubeConfig(path);
}

test("a pod is given the server's address, its certificate and a token", async () => {
  await writeFile(join(folder, "ca.crt"), "the CA");
  const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };
  expect(await podKubeConfig({ env, folder })).toStrictEqual({
    server: "https://[fd00::1]:443",
    tls: { ca: Buffer.from("the CA") },
    token: { kind: "file", path: join(folder, "token") },
  });
});

test("outside of a pod, and in one without an account, a sentence says what to do", async () => {
  await expect(podKubeConfig({ env: {}, folder })).rejects.toThrow("set KUBECONFIG");
  const env = { KUBERNETES_SERVICE_HOST: "h", KUBERNETES_SERVICE_PORT: "443" };
  await expect(podKubeConfig({ env, folder })).rejects.toThrow("automountServiceAccountToken");
});

test("the current context's cluster and user count", async () => {
  expect(await load(configOf({}))).toStrictEqual({
    server: "https://api:6443",
    tls: { ca: Buffer.from("the CA") },
    token: { kind: "text", text: "the-token" },
  });
});

test("a kubeconfig may be YAML", async () => {
  const yaml = [
    "current-context: here",
    "contexts: [{name: here, context: {cluster: c}}]",
    "clusters:",
    "- name: c",
    "  cluster: {server: 'http://127.0.0.1:8080', tls-server-name: api}",
    "users: null",
  ].join("\n");
  expect(await load(yaml)).toStrictEqual({
    server: "http://127.0.0.1:8080",
    tls: { servername: "api" },
    token: undefined,
  });
});

test("files are found beside the kubeconfig", async () => {
  for (const name of ["ca", "cert", "key"]) await writeFile(join(folder, name), name);
  const found = await load(
    configOf({
      cluster: { "certificate-authority-data": undefined, "certificate-authority": "ca" },
      user: { "client-certificate": "cert", "client-key": "key", tokenFile: "token", token: "t" },
    }),
  );
  expect(found.tls).toStrictEqual({
    ca: Buffer.from("ca"),
    cert: Buffer.from("cert"),
    key: Buffer.from("key"),
  });
  expect(found.token).toStrictEqual({ kind: "file", path: join(folder, "token") });
});

test("certificates go unchecked only when the file says so", async () => {
  const found = await load(configOf({ cluster: { "insecure-skip-tls-verify": true } }));
  expect(found.tls).toMatchObject({ rejectUnauthorized: false });
});

test.each([
  { name: "exec", user: { exec: { command: "get-token" } } },
  { name: "auth-provider", user: { "auth-provider": { name: "oidc" } } },
  { name: "username", user: { username: "u", password: "p" } },
  { name: "as", user: { token: "t", as: "someone" } },
  { name: "proxy-url", cluster: { "proxy-url": "http://proxy" } },
])("$name is refused by its name", async ({ name, ...given }) => {
  await expect(load(configOf(given))).rejects.toMatchObject({
    code: "invalid-argument",
    details: { problem: expect.stringContaining(`"${name}" is not supported`) },
  });
});

test.each([
  { what: "no file", path: "/nonexistent/config" },
  { what: "no kubeconfig", content: "[1, 2" },
  { what: "no such context", content: { ...configOf({}), "current-context": "gone" } },
])("$what is refused", async ({ path, content }) => {
  const loaded = path === undefined ? load(content ?? "") : loadKubeConfig(path);
  await expect(loaded).rejects.toThrow("the kubeconfig cannot be used");
});

test("a token's file is read again when it may have changed", async () => {
  const clock = new FakeClock();
  const seen: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const path = join(folder, "token");
  const config = {
    server: `http://127.0.0.1:${port}`,
    tls: {},
    token: { kind: "file", path },
  } as const;
  using http = new KubeHttp({ clock, config, userAgent: "weir-test/1" });
  const ask = () => http.call({ method: "GET", path: "/" }, new AbortController().signal);
  await expect(ask()).rejects.toMatchObject({ code: "kube-unavailable" });
  await writeFile(path, "first\n");
  await ask();
  await writeFile(path, "second\n");
  await ask();
  await clock.advance(60_000);
  await ask();
  expect(seen).toStrictEqual(["Bearer first", "Bearer first", "Bearer second"]);
  server.closeAllConnections();
  server.close();
});
