# Goal: a ublk device survives SIGKILL of its engine under load without one I/O error, grows, and
# all of it is in the bucket in the end.
# Method: the real engine and kernel driver, a directory store on the guest's disk, the independent
# write log on the device itself. Run by hand: hack/run vm --kernel K --memory 6G -- "bash THIS".
source test/vm/report.sh
exec 3>&1
# What a long step is at; the checks' own output is shown only when they fail.
progress() { echo "# $*" >&3; }
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

kills_under_load() { # COUNT
  local log=/dev/shm/oracle.log load kills
  $BUILD/oracle run --target "dev:$(device)" --log $log --blocks 8192 --seconds 600 --seed 5 \
    --flush-at-end >/tmp/run.json 2>&1 &
  load=$!
  for ((kills = 1; kills <= $1; kills++)); do
    # The engine takes commands only when its devices serve again, so each kill meets a live device.
    sleep "1.$((RANDOM % 10))"
    kill_engine
    progress "kill $kills"
    start_engine || { kill -KILL $load; return 1; }
  done
  progress "the load ends"
  kill -TERM $load
  wait $load || { cat /tmp/run.json; return 1; }
  cat /tmp/run.json
  progress "verify"
  $BUILD/oracle verify --target "dev:$(device)" --log $log
}

elsewhere() { # What was detached is all in the bucket: another state directory sees the same.
  local log=/dev/shm/oracle.log
  weir detach killed && kill_engine && rm -rf $STATE || return
  start_engine && attach killed || return
  $BUILD/oracle verify --target "dev:$(device)" --log $log
}

grow_online() {
  weir grow killed --size 96M && [ "$(blockdev --getsize64 "$(device)")" = 100663296 ]
}

check "engine starts" start_engine
weir create killed --size 64M >/dev/null
check "attach again" attach killed
check "10 kills under load: no I/O error, nothing lost" kills_under_load 10
if [ "$(uname -r | cut -d. -f1)" -ge 7 ]; then check "grow online" grow_online; fi
check "the bucket alone holds it all" elsewhere
check "detach at the end" weir detach killed
check "no device is left" bash -c '! ls /dev/ublkb* 2>/dev/null'
kill_engine
no_warnings() { ! grep -E '"level":(40|50|60)' /mnt/disk/serve.log; }
check "no warning in the engine's log" no_warnings
