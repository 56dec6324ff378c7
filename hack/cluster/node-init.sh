#!/bin/bash
# The first process of a worker node, after hack/vm/initramfs-init.sh: mounts, network, containerd,
# kubelet. /mnt/share/run holds scripts of the host to run in here (see node-shell.ts). The node's
# own disk keeps kubelet's files and the journals, so that they survive a reboot; the disk of images
# is fresh each time.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
share=/mnt/share
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p $share /mnt/disk /dev/pts /dev/shm /run/lock
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none share $share
exec >>$share/init.log 2>&1 </dev/null
source $share/settings
cat /proc/sys/kernel/random/boot_id >$share/boot-id
echo "booting at $(cut -d' ' -f1 /proc/uptime)"
# A mount and not a link, since containers see /lib/modules, too.
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$MODULES" "/lib/modules/$(uname -r)"
modprobe -a virtio_net virtio_rng veth bridge br_netfilter xfs loop nbd ublk_drv
hostname "$NODE"
echo "$MACHINE_ID" >/etc/machine-id
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=0

[ "$(blkid -o value -s TYPE /dev/vda)" = ext4 ] ||
  mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 /dev/vda
mount /dev/vda /mnt/disk
for name in kubelet weir; do
  mkdir -p "/mnt/disk/$name" "/var/lib/$name"
  mount --bind "/mnt/disk/$name" "/var/lib/$name"
done
mkdir -p /var/lib/containerd /etc/cni/net.d /etc/containerd
mount /dev/vdb /var/lib/containerd
cp $share/cni.conflist /etc/cni/net.d/10-weir.conflist
# What a pod mounts with Bidirectional propagation must reach the node and other pods.
mount --make-rshared /

# Runs it again whenever it ends.
keep() {
  local name=$1
  shift
  while :; do
    "$@" >>"$share/$name.log" 2>&1
    echo "$name ended with status $?"
    sleep 1
  done
}
echo "starting at $(cut -d' ' -f1 /proc/uptime)"
# Collecting garbage, and signals to threads that run, cost an emulated CPU much.
export GOGC=400 GODEBUG=asyncpreemptoff=1
keep containerd containerd --config $share/containerd.toml &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
keep kubelet "$KUBELET" --config $share/kubelet.json --kubeconfig $share/kubeconfig.json \
  --hostname-override "$NODE" --node-ip "$ADDRESS" --housekeeping-interval=60s --v=1 &

# A line on the second serial port is the name of a script in /mnt/share/run. Waiting there costs
# nothing, while looking into the folder again and again would cost a tenth of an emulated CPU.
stty -F /dev/ttyS1 raw -echo
while :; do
  read -r name <&3 || { sleep 1; continue; }
  base=$share/run/$name
  [ -e "$base.sh" ] || continue
  (
    bash "$base.sh" >"$base.output" 2>&1
    echo $? >"$base.status.new"
    mv "$base.status.new" "$base.status"
  ) 3<&- &
done 3</dev/ttyS1
