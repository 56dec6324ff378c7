# Goal: a ublk device survives SIGKILL of its engine under load without one I/O error, grows, and
# all of it is in the bucket in the end.
# Method: the real engine and kernel driver, a directory store on the guest's disk, the independent
# write log on the device itself. By hand: hack/run vm --kernel K --memory 6G -- "bash THIS".
source test/vm/report.sh
source test/vm/engine.sh
exec 3>&1
# What a long step is at; the checks' own output is shown only when they fail.
progress() { echo "# $*" >&3; }
ORACLE_LOG=/dev/shm/oracle.log
verify() { $BUILD/oracle verify --target "dev:$(device)" --log $ORACLE_LOG; }

# Requests that the device has completed since it was made.
completed() { awk '{ print $1 + $5 + $12 + $16 }' "/sys/block/$(basename "$(device)")/stat"; }

# The load goes on: what waited for the engine is answered, and new requests are. So a kill always
# meets a device in use, and a device that does not serve again is found at once.
load_goes_on() {
  local start
  start=$(completed)
  for _ in {1..1200}; do
    [ "$(completed)" -gt $((start + 64)) ] && return
    sleep 0.1
  done
  echo "no request was completed for two minutes: $(completed), $start before"
  weir status
  return 1
}

kills_under_load() { # COUNT
  local load kills
  $BUILD/oracle run --target "dev:$(device)" --log $ORACLE_LOG --blocks 8192 --seed 5 \
    --seconds 1100 --flush-at-end >/tmp/run.json 2>&1 &
  load=$!
  for ((kills = 1; kills <= $1; kills++)); do
    load_goes_on || { kill -KILL $load; return 1; }
    sleep "0.$((RANDOM % 10))"
    progress "kill $kills"
    kill_engine && start_engine || { kill -KILL $load; return 1; }
  done
  progress "the load ends"
  kill -TERM $load
  wait $load || { cat /tmp/run.json; return 1; }
  progress "$(cat /tmp/run.json)"
  verify
}

elsewhere() { # What was detached is all in the bucket: another state directory sees the same.
  weir detach killed && kill_engine && rm -rf $STATE || return
  start_engine && attach killed && verify
}

grow_online() {
  weir grow killed --size 96M && [ "$(blockdev --getsize64 "$(device)")" = 100663296 ]
}

# Killed when the kernel has taken the block device away: the volume's record and what is left of
# its device are still there, and the next engine serves it all the same.
kills_while_detaching() {
  local tries name pid
  for tries in {1..10}; do
    name=$(basename "$(device)")
    pid=$(cat /run/engine.pid)
    weir detach killed >/dev/null 2>&1 &
    # By the shell alone: the device is on its way for a few milliseconds.
    while [ -d "/sys/block/$name" ]; do :; done
    kill -KILL "$pid"
    wait $!
    await [ -f /run/engine.status ] || return
    [ -z "$(ls -A /sys/class/ublk-char)" ] || break
    start_engine && attach killed || return
  done
  [ -n "$(ls -A /sys/class/ublk-char)" ] || { echo "no kill met a device on its way"; return 1; }
  progress "try $tries: left without a block device: $(ls -A /sys/class/ublk-char)"
  start_engine && verify
}

# Killed at several moments after the kernel has the device of a volume that is being attached: the
# next engine knows of it, and it can be detached.
kills_while_attaching() {
  local wait pid before
  local chars=(/sys/class/ublk-char/*)
  before=${#chars[@]}
  weir create half --size 16M || return
  for wait in 0 0.01 0.02 0.04 0.08; do
    pid=$(cat /run/engine.pid)
    weir attach half --transport ublk >/dev/null 2>&1 &
    until chars=(/sys/class/ublk-char/*) && [ ${#chars[@]} -gt "$before" ]; do :; done
    sleep "$wait"
    kill -KILL "$pid"
    wait $!
    await [ -f /run/engine.status ] && start_engine && weir detach half || return
    chars=(/sys/class/ublk-char/*)
    [ ${#chars[@]} = "$before" ] || { echo "left: ${chars[*]}"; return 1; }
  done
}

# The driver of 6.12 would read the partition table while it holds the device's lock: a kill then
# leaves an engine that never ends, and a device that nobody can take up or remove.
nobody_reads_a_new_device() { [ "$(completed)" = 0 ]; }

check "engine starts" start_engine
weir create killed --size 64M >/dev/null
check "attach" attach killed
check "nobody has read the new device" nobody_reads_a_new_device
check "10 kills under load: no I/O error, nothing lost" kills_under_load 10
if [ "$(uname -r | cut -d. -f1)" -ge 7 ]; then check "grow online" grow_online; fi
check "the bucket alone holds it all" elsewhere
check "killed in the middle of an attach: it leaves nothing behind" kills_while_attaching
check "killed in the middle of a detach: it is served again" kills_while_detaching
check "detach at the end" weir detach killed
check "no device is left" no_device
check "the engine lived until its kill" kill_engine
check "no warning in the engine's log" no_warnings
