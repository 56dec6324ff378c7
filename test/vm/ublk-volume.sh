# Goal: one volume over ublk in a guest: file systems and verified load.
# Method: the real engine and kernel driver, a directory store on the guest's disk; fio's own
# verification, fsx on mounted file systems.
source test/vm/report.sh
modprobe ublk_drv
STORE=file:///mnt/disk/store
mkdir -p /mnt/disk/store
STATE=/mnt/disk/state
weir() { csi-node/cli/weir --store $STORE --state $STATE --run /run/weir "$@"; }
BUILD=native/build/release
# A small journal: under emulation, replaying a large one would be most of this test's time.
cat >/run/config.json <<'JSON'
{"journalBytes": 67108864, "journalFileBytes": 4194304, "cacheFileBytes": 67108864}
JSON
# `check` runs what it checks in a subshell, so what the steps hand on lies in files.
device() { cat /run/device; }

start_engine() {
  rm -f /run/weir/control.sock
  # Not through the function: the pid must be the engine's own.
  csi-node/cli/weir --store $STORE --state $STATE --run /run/weir serve --config /run/config.json \
    >>/mnt/disk/serve.log 2>&1 &
  echo $! >/run/engine.pid
  for _ in {1..1800}; do
    [ -S /run/weir/control.sock ] && return
    sleep 0.1
  done
  cat /mnt/disk/serve.log
  return 1
}
attach() { weir attach "$1" --transport ublk --max-dirty-age 500ms >/run/device; }

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

kill_engine() {
  local engine
  engine=$(cat /run/engine.pid)
  kill -KILL "$engine"
  while [ -d "/proc/$engine" ]; do
    grep -q '^State:.Z' "/proc/$engine/status" 2>/dev/null && break
    sleep 0.05
  done
}

no_module() { # A clear sentence and a non-zero exit, nothing left attached.
  modprobe -r ublk_drv && rm -f /dev/ublk-control || return
  local said
  said=$(weir attach unserved --transport ublk 2>&1) && return 1
  modprobe ublk_drv
  grep -q "modprobe ublk_drv" <<<"$said" || { echo "$said"; return 1; }
}

check "engine starts" start_engine
weir create unserved --size 64M >/dev/null
check "without the module: one clear sentence" no_module
weir create plain --size 512M >/dev/null
check "attach over ublk" attach plain
check "fio verify, mixed sizes, trims and flushes" verified_load
check "ext4: fsx, remount, fstrim, fsck" file_system ext4
check "xfs: fsx, remount, fstrim, repair -n" file_system xfs
check "detach" weir detach plain
check "no device is left" bash -c '! ls /dev/ublkb* 2>/dev/null'
kill_engine
no_warnings() { ! grep -E '"level":(40|50|60)' /mnt/disk/serve.log; }
check "no warning in the engine's log" no_warnings
