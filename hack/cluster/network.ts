// The cluster's network: a namespace with one bridge, a tap for each guest, and a pair of devices
// to this machine. Nothing of this machine's own network is changed; removing the namespace removes
// it all.
import { existsSync } from "node:fs";
import { outputOf } from "../program.ts";
import { BRIDGE, CLUSTER_RANGES, NETWORK_NAMESPACE, SERVICE_ADDRESS, UPLINK } from "./layout.ts";
import type { ClusterNode } from "./layout.ts";

const namespaceFile = `/run/netns/${NETWORK_NAMESPACE}`;

/** A command that runs in the cluster's network. */
export function inNetwork(command: readonly string[]): readonly string[] {
  return ["nsenter", `--net=${namespaceFile}`, ...command];
}

/** Makes what is missing. */
export async function raiseNetwork(nodes: readonly ClusterNode[]): Promise<void> {
  if (!existsSync(namespaceFile)) {
    await outputOf(["bash", "-euc", RAISE, "bash", ...CLUSTER_RANGES]);
  }
  for (const { tap, podRange, address } of nodes) {
    await outputOf(inNetwork(["bash", "-euc", ADD_NODE, "bash", tap, podRange, address]));
  }
}

export async function removeNetwork(): Promise<void> {
  if (existsSync(namespaceFile)) {
    await outputOf(["ip", "netns", "delete", NETWORK_NAMESPACE]);
  }
  // The kernel takes the namespace apart some time later; this end of the pair should go now.
  if (existsSync(`/sys/class/net/${UPLINK.outside}`)) {
    await outputOf(["ip", "link", "delete", UPLINK.outside]);
  }
}

/** Built under another name, so that a half-made network is never taken for a whole one. */
const RAISE = `
name=${NETWORK_NAMESPACE}
ip netns delete $name-new 2>/dev/null || true
ip netns add $name-new
inside() { ip netns exec $name-new "$@"; }
inside ip link set lo up
inside ip link add br0 type bridge
inside ip address add ${BRIDGE}/24 dev br0
inside ip address add ${SERVICE_ADDRESS}/32 dev br0
inside ip link set br0 up
inside sysctl -q -w net.ipv4.ip_forward=1
ip link delete ${UPLINK.outside} 2>/dev/null || true
ip link add ${UPLINK.outside} type veth peer name ${UPLINK.inside} netns $name-new
inside ip link set ${UPLINK.inside} master br0 up
ip address add ${UPLINK.outsideAddress}/32 dev ${UPLINK.outside}
ip link set ${UPLINK.outside} up
ip route add ${BRIDGE}/32 dev ${UPLINK.outside} src ${UPLINK.outsideAddress}
for range in "$@"; do
  ip route replace $range via ${BRIDGE} dev ${UPLINK.outside} src ${UPLINK.outsideAddress}
done
mkdir -p /run/netns
touch /run/netns/$name
mount --bind /run/netns/$name-new /run/netns/$name
umount /run/netns/$name-new
rm /run/netns/$name-new
`;

const ADD_NODE = `
if [ ! -e /sys/class/net/$1 ] && ! ip link show $1 >/dev/null 2>&1; then
  ip tuntap add $1 mode tap
  ip link set $1 master br0 up
fi
ip route replace $2 via $3
`;
