// etcd, the API server, controller manager, scheduler and versitygw, on the bridge of the cluster's
// own network. Kubernetes checks no certificates but the API server's own; who talks to it shows a
// token. Its data survive until `down`.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { goTool, goTools } from "../tools/go-tool.ts";
import { outputOf } from "../program.ts";
import { daemonLog, daemonPid, startDaemon, until, type Daemon } from "./daemons.ts";
import { adminConfig, API_PORT, apiServer, BRIDGE, clusterNodes, NODES_MAX } from "./layout.ts";
import { s3, s3Endpoint, SERVICE_RANGE, stateFolder } from "./layout.ts";
import { inNetwork } from "./network.ts";

const START_TIMEOUT_MS = 120_000;

const place = (name: string) => join(stateFolder, name);
const tokenFile = place("tokens.csv");
const serviceAccountKey = place("service-account.key");
/** Written by the API server itself: its certificate, and the authority's behind it. */
const certificateFolder = place("certificates");
const certificateFile = join(certificateFolder, "apiserver.crt");

/** Starts what does not run, and waits until the API server is ready. */
export async function startControlPlane(): Promise<void> {
  const program = await goTools("kubernetes", [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
  ]);
  const versitygw = await goTool("versitygw");
  mkdirSync(join(s3.folder, s3.bucket), { recursive: true });
  writeCredentials();
  start(storage(versitygw));
  start(etcd());
  start(kubeApiServer(program("kube-apiserver")));
  await untilHealthy({ name: "versitygw", address: `${s3Endpoint}/health` });
  await untilHealthy({ name: "kube-apiserver", address: `${apiServer}/readyz` });
  for (const { name } of users) writeFileSync(configOf(name), kubeConfig(name));
  start(controllerManager(program("kube-controller-manager")));
  start({
    name: "kube-scheduler",
    command: [
      program("kube-scheduler"),
      `--kubeconfig=${configOf("system:kube-scheduler")}`,
      "--leader-elect=false",
    ],
  });
}

function start(daemon: Daemon): void {
  startDaemon({ ...daemon, command: inNetwork(daemon.command) });
}

function storage(program: string): Daemon {
  return {
    name: "versitygw",
    command: [
      ...[program, "--port", `${BRIDGE}:${s3.port}`, "--keep-alive", "--quiet"],
      ...["--health", "/health", "posix", s3.folder],
    ],
    env: { ROOT_ACCESS_KEY_ID: s3.accessKeyId, ROOT_SECRET_ACCESS_KEY: s3.secretAccessKey },
  };
}

function etcd(): Daemon {
  // On the loopback of the cluster's own network, so the usual port is free.
  return { name: "etcd", command: ["etcd", "--data-dir", place("etcd"), "--log-level", "warn"] };
}

function kubeApiServer(program: string): Daemon {
  return {
    name: "kube-apiserver",
    command: [
      program,
      "--etcd-servers=http://127.0.0.1:2379",
      `--advertise-address=${BRIDGE}`,
      `--secure-port=${API_PORT}`,
      `--cert-dir=${certificateFolder}`,
      `--service-cluster-ip-range=${SERVICE_RANGE}`,
      `--token-auth-file=${tokenFile}`,
      "--authorization-mode=Node,RBAC",
      "--enable-admission-plugins=NodeRestriction",
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${serviceAccountKey}`,
      `--service-account-signing-key-file=${serviceAccountKey}`,
      "--allow-privileged=true",
      "--kubelet-preferred-address-types=InternalIP",
      // A long test reads at its end what was told at its beginning.
      "--event-ttl=12h",
      "--v=1",
    ],
  };
}

function controllerManager(program: string): Daemon {
  return {
    name: "kube-controller-manager",
    command: [
      program,
      `--kubeconfig=${configOf("system:kube-controller-manager")}`,
      `--root-ca-file=${certificateFile}`,
      `--service-account-private-key-file=${serviceAccountKey}`,
      "--use-service-account-credentials=false",
      "--leader-elect=false",
    ],
  };
}

async function untilHealthy(what: { name: string; address: string }): Promise<void> {
  const { name, address } = what;
  const curl = ["curl", "--silent", "--fail", "--insecure", "--max-time", "5", address];
  const answers = async () => {
    try {
      await outputOf(curl);
      return true;
    } catch {
      if (daemonPid(name) === undefined) throw new Error(`${name} ended: see ${daemonLog(name)}.`);
      return false;
    }
  };
  if (!(await until(answers, START_TIMEOUT_MS))) {
    throw new Error(`${name} is not ready after ${START_TIMEOUT_MS} ms: see ${daemonLog(name)}.`);
  }
}

/** Who may show a token, and the groups they are in. */
const users = [
  { name: "admin", groups: "system:masters" },
  // It acts for all of its controllers, without a service account for each.
  { name: "system:kube-controller-manager", groups: "system:masters" },
  { name: "system:kube-scheduler", groups: "" },
  ...clusterNodes(NODES_MAX).map(({ name }) => ({
    name: `system:node:${name}`,
    groups: "system:nodes",
  })),
];

function configOf(user: string): string {
  return user === "admin" ? adminConfig : place(`${user.replaceAll(":", "-")}.json`);
}

/** The kubeconfig of a node's kubelet. */
export function nodeConfig(node: string): string {
  return configOf(`system:node:${node}`);
}

/** Tokens and keys that die with this cluster. */
function writeCredentials(): void {
  if (existsSync(tokenFile)) return;
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  writeFileSync(serviceAccountKey, privateKey, { mode: 0o600 });
  rmSync(certificateFolder, { recursive: true, force: true });
  const lines = users.map(
    ({ name, groups }) => `${randomBytes(16).toString("hex")},${name},${name},"${groups}"\n`,
  );
  writeFileSync(tokenFile, lines.join(""), { mode: 0o600 });
}

function kubeConfig(user: string): string {
  const line = readFileSync(tokenFile, "utf8")
    .split("\n")
    .find((line) => line.split(",")[1] === user);
  const token = line?.split(",")[0] ?? "";
  const cluster = {
    server: apiServer,
    "certificate-authority-data": readFileSync(certificateFile).toString("base64"),
  };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "weir", cluster }],
    users: [{ name: user, user: { token } }],
    contexts: [{ name: "weir", context: { cluster: "weir", user } }],
    "current-context": "weir",
  });
}
