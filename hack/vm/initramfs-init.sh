#!/bin/busybox sh
# The first process of a guest: lays a file system in memory over the one of the host, which stays
# read-only, and goes on there with the script named on the kernel command line. Nothing a guest
# writes outside of /mnt/share reaches the host.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do
  $b insmod "/modules/$module"
done </modules/order
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
$b mount -t tmpfs -o size=75% tmpfs /layer
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root
for argument in $($b cat /proc/cmdline); do
  case $argument in
    weir.next=*) next=${argument#weir.next=} ;;
  esac
done
for place in proc sys dev; do
  $b mkdir -p "/root/$place"
  $b mount --move "/$place" "/root/$place"
done
exec $b switch_root /root /bin/bash "$next"
