# Goal: one volume over ublk in a guest: the native tests that need the driver, file systems and
# verified load.
# Method: the real engine and kernel driver, a directory store on the guest's disk; fio's own
# verification, fsx on mounted file systems.
source test/vm/report.sh
source test/vm/engine.sh

verified_load() {
  fio --name=verify --filename="$(device)" --ioengine=io_uring --direct=1 --rw=randtrimwrite \
    --bsrange=4k-64k --size=64M --iodepth=32 --fsync=64 \
    --verify=crc32c --verify_fatal=1 --verify_state_save=0
}

file_system() { # KIND
  wipefs -aq "$(device)" && "mkfs.$1" -q "$(device)" && mkdir -p /mnt/volume || return
  mount "$(device)" /mnt/volume || return
  $BUILD/fsx --file /mnt/volume/file --ops 1500 --size 8388608 --seed 11 || return
  sync && sha256sum /mnt/volume/file >/tmp/before && umount /mnt/volume || return
  mount "$(device)" /mnt/volume && sha256sum --check --quiet /tmp/before || return
  fstrim /mnt/volume && umount /mnt/volume || return
  if [ "$1" = ext4 ]; then e2fsck -fn "$(device)"; else xfs_repair -n "$(device)"; fi
}

no_module() { # A clear sentence and a non-zero exit, nothing left attached.
  modprobe -r ublk_drv && rm -f /dev/ublk-control || return
  local said
  said=$(weir attach unserved --transport ublk 2>&1) && return 1
  modprobe ublk_drv
  grep -q "modprobe ublk_drv" <<<"$said" || { echo "$said"; return 1; }
}

native_tests() { # With the variable, a test that finds no driver fails.
  WEIR_UBLK_DRIVER=1 $BUILD/weir_native_tests --gtest_brief=1 --gtest_filter='Ublk*'
}

check "native tests of ublk with the driver" native_tests
check "engine starts" start_engine
weir create unserved --size 64M >/dev/null
check "without the module: one clear sentence" no_module
weir create plain --size 512M >/dev/null
check "attach over ublk" attach plain
check "fio verify, mixed sizes, trims and flushes" verified_load
check "ext4: fsx, remount, fstrim, fsck" file_system ext4
check "xfs: fsx, remount, fstrim, repair -n" file_system xfs
check "detach" weir detach plain
check "no device is left" no_device
check "the engine lived until its kill" kill_engine
check "no warning in the engine's log" no_warnings
