#!/bin/bash
# The second half of a guest's start: the mounts a test may expect, then the test, then power off.
# The host reads /mnt/share: `output`, `exit-code`, `kernel.log` and `boot-seconds`.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /mnt/share /mnt/disk /dev/pts /dev/shm /run/lock
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none share /mnt/share
exec >>/mnt/share/output 2>&1 </dev/null
source /mnt/share/settings
mkdir -p /lib/modules
ln -sfn "$MODULES" "/lib/modules/$(uname -r)"
ip link set lo up
if [ "$NETWORK" = user ]; then
  # The host's loopback is 10.0.2.2 from here.
  modprobe virtio_net
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  ip route add default via 10.0.2.2
  for _ in {1..100}; do
    [ "$(cat /sys/class/net/eth0/carrier)" = 1 ] && break
    sleep 0.05
  done
fi
# A real disk, so that fsync means something: 9p and memory would only pretend. Its inode tables
# stay as they are: a thread that writes zeroes beside a test would disturb figures.
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 /dev/vda &&
  mount -o noinit_itable /dev/vda /mnt/disk
read -r up _ </proc/uptime
echo "$up" >/mnt/share/boot-seconds
cd "$FOLDER" || exit 1
bash /mnt/share/script
code=$?
dmesg >/mnt/share/kernel.log
umount /mnt/disk
echo "$code" >/mnt/share/exit-code
# Nothing is executed any more once the power goes: an init that ends would be a panic.
mkfifo /run/never
echo o >/proc/sysrq-trigger
read -rt 60 <>/run/never
