// Names, addresses and paths of the cluster: everything that two of its files must agree on. It has
// a network namespace of its own; `BRIDGE` in there is the address of the API server and of S3 for
// guests, pods and this machine alike.
import { join } from "node:path";
import { cache } from "../places.ts";

/** What `down` removes. Things made once and kept lie beside it, in the cache. */
export const stateFolder = join(cache, "cluster");
export const adminConfig = join(stateFolder, "admin.json");
export const logFolder = join(stateFolder, "logs");

export const NETWORK_NAMESPACE = "weir";
export const BRIDGE = "10.77.0.1";
/** The `kubernetes` service; BRIDGE answers for it, so no kube-proxy is needed. */
export const SERVICE_ADDRESS = "10.79.0.1";
export const SERVICE_RANGE = "10.79.0.0/24";
/** The bridge, all pods and the services. */
export const CLUSTER_RANGES = ["10.77.0.0/24", "10.78.0.0/16", SERVICE_RANGE] as const;
/** The pair of devices by which this machine reaches the cluster. */
export const UPLINK = { outside: "weir-host", inside: "host", outsideAddress: "10.77.0.254" };

export const API_PORT = 443;
export const apiServer = `https://${BRIDGE}:${API_PORT}`;

/** versitygw on BRIDGE, with one bucket. */
export const s3 = {
  port: 7070,
  bucket: "weir",
  accessKeyId: "weir-cluster",
  secretAccessKey: "weir-cluster-secret",
  /** Each bucket is a folder in it. */
  folder: join(stateFolder, "buckets"),
} as const;
export const s3Endpoint = `http://${BRIDGE}:${s3.port}`;
/** Pods in here are not on a network of others: plain HTTP it is. */
const s3Access = `endpoint=${s3Endpoint}&insecure=true&region=us-east-1`;
export const storeUrl = `s3://${s3.bucket}/cluster?${s3Access}`;

export interface ClusterNode {
  readonly name: string;
  readonly address: string;
  readonly podRange: string;
  readonly tap: string;
  readonly mac: string;
  /** The node's disk, its log, and what it shares with this machine. */
  readonly folder: string;
}

/** Enough for tests of many nodes, few enough for one digit in a MAC address. */
export const NODES_MAX = 9;

/** The nodes `worker-1` to `worker-COUNT`. */
export function clusterNodes(count: number): readonly ClusterNode[] {
  return Array.from({ length: count }, (_, index) => {
    const number = index + 1;
    const name = `worker-${number}`;
    return {
      name,
      address: `10.77.0.${10 + number}`,
      podRange: `10.78.${number}.0/24`,
      tap: `tap${number}`,
      mac: `52:54:00:77:00:0${number}`,
      folder: join(stateFolder, "nodes", name),
    };
  });
}
