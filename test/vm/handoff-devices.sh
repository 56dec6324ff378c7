# Goal: ublk devices change hands between processes, again and again under load, without an I/O
# error and without a lost block, and a predecessor takes them back when its successor dies.
# Method: the native window by itself (handoff-target: real journals, no bucket, no JavaScript), the
# independent write log on every device. Prints the stall of each handoff as the two engines see it.
# By hand: hack/run vm --kernel K --memory 6G -- "bash THIS [HANDOFFS] [DEVICES]".
source test/vm/report.sh
BUILD=${BUILD:-native/build/release}
HANDOFFS=${1:-50}
DEVICES=${2:-1}
RUN=/mnt/disk/run
# Nothing is ever uploaded, so all that the load writes has to fit, however long the run.
JOURNAL=$((DEVICES > 4 ? 512 << 20 : 1024 << 20))
modprobe ublk_drv
mkdir -p /run/bin
# Copies in the guest's memory: a build on the host meanwhile must not change what runs here.
cp $BUILD/handoff-target $BUILD/oracle /run/bin/
# Always in a shell of its own, so that its process is the target itself.
target() { exec /run/bin/handoff-target "$@" --run $RUN --volumes "$DEVICES" --journal $JOURNAL; }
exec 3>&1
progress() { echo "# $*" >&3; }

# Waits until the target whose output is FILE serves.
serves() { # FILE
  for _ in {1..600}; do
    grep -q ^ready "$1" && return
    sleep 0.1
  done
  cat "$1"
  return 1
}

start() {
  target serve >/run/out.0 2>&1 &
  echo $! >/run/target.pid
  serves /run/out.0
}

start_load() {
  local at
  for ((at = 0; at < DEVICES; at++)); do
    /run/bin/oracle run --target dev:/dev/ublkb$at --log /dev/shm/log.$at --blocks 8192 \
      --seed $((5 + at)) --depth 8 --sizes 1-4 --rate 400 --seconds 3000 --flush-at-end \
      >/run/load.$at 2>&1 &
    echo $! >/run/load.pid.$at
  done
}

hand_over() { # NUMBER [ARGUMENTS]: a successor takes everything
  local out=/run/out.$1
  target take "${@:2}" >"$out" 2>&1 &
  local successor=$!
  serves "$out" || return
  echo $successor >/run/target.pid
  progress "$(head -n 1 "$out")"
}

many() {
  local number
  for ((number = 1; number <= HANDOFFS; number++)); do
    hand_over $number || return
    sleep "0.$((RANDOM % 5))"
  done
  # Of each handoff the worst device.
  grep -ho '"stallUs":[0-9]*' /run/out.* | cut -d: -f2 | sort -n >/run/stalls
  local count p50
  count=$(wc -l </run/stalls)
  p50=$(sed -n "$((count / 2 + 1))p" /run/stalls)
  progress "stall of a device in us: p50 $p50, max $(tail -n 1 /run/stalls), $count of them"
}

# The successor strikes itself dead at STEP; the predecessor serves on (its output says `kept`).
dies() { # STEP
  local pid out before
  pid=$(cat /run/target.pid)
  before=$(cat /run/out.* | grep -c '"kept"')
  (target take --deadline 3000 --fault "$1:kill" >/run/dead.$1 2>&1)
  for _ in {1..100}; do
    [ "$(cat /run/out.* | grep -c '"kept"')" -gt "$before" ] && break
    sleep 0.1
  done
  kill -0 "$pid" && [ "$(cat /run/out.* | grep -c '"kept"')" -gt "$before" ] || return
  load_goes_on
}

load_goes_on() {
  local start
  start=$(awk '{ print $1 + $5 }' /sys/block/ublkb0/stat)
  for _ in {1..300}; do
    [ "$(awk '{ print $1 + $5 }' /sys/block/ublkb0/stat)" -gt $((start + 64)) ] && return
    sleep 0.1
  done
  return 1
}

successors_die() {
  local step number=1000
  for step in prepare rested follow claim; do
    progress "the successor dies at $step"
    dies $step || return
    hand_over $((number++)) || return
  done
}

# Whoever owned everything is dead: the next start recovers, as after any crash.
recover() {
  target serve --recover yes >/run/out.recovered.$1 2>&1 &
  echo $! >/run/target.pid
  serves /run/out.recovered.$1 && load_goes_on
}

# The successor dies when it owns everything: the predecessor must not serve again.
dies_as_owner() {
  local pid
  pid=$(cat /run/target.pid)
  (target take --deadline 3000 --fault serve:kill >/run/dead.serve 2>&1)
  tail --pid="$pid" -f /dev/null
  cat /run/out.* | grep -q '"lost"' || return
  recover owner
}

# The predecessor dies at STEP of its window: its successor takes everything, or refuses and the
# next start recovers.
predecessors_die() {
  local step pid out
  for step in freeze leave send; do
    progress "the predecessor dies at $step"
    kill -KILL "$(cat /run/target.pid)"
    tail --pid="$(cat /run/target.pid)" -f /dev/null
    target serve --recover yes --give-fault $step:kill >/run/out.doomed.$step 2>&1 &
    pid=$!
    serves /run/out.doomed.$step && load_goes_on || return
    out=/run/out.after.$step
    target take --deadline 3000 >$out 2>&1 &
    echo $! >/run/target.pid
    tail --pid=$pid -f /dev/null
    for _ in {1..100}; do
      grep -q outcome $out && break
      sleep 0.1
    done
    progress "$(cat $out)"
    if grep -q taken $out; then load_goes_on; else recover $step; fi || return
  done
}

end_load() {
  local at status=0
  for ((at = 0; at < DEVICES; at++)); do
    kill -TERM "$(cat /run/load.pid.$at)"
    tail --pid="$(cat /run/load.pid.$at)" -f /dev/null
    progress "$(cat /run/load.$at)"
    grep -q '"errors":0' /run/load.$at && grep -q '"findings":\[\]' /run/load.$at || status=1
  done
  return $status
}

verify() {
  local at
  for ((at = 0; at < DEVICES; at++)); do
    /run/bin/oracle verify --target dev:/dev/ublkb$at --log /dev/shm/log.$at || return
  done
}

no_device() { ! ls /dev/ublkb* >/dev/null 2>&1; }

stop() {
  kill -TERM "$(cat /run/target.pid)"
  for _ in {1..300}; do
    no_device && break
    sleep 0.1
  done
  no_device && [ "$(cat /sys/kernel/rcu_expedited)" = 0 ]
}

progress "$(uname -r) $(cat /sys/kernel/debug/sched/preempt 2>/dev/null)"
check "devices are served" start
start_load
check "$HANDOFFS handoffs of $DEVICES devices under load" many
check "a predecessor takes its devices back" successors_die
check "a successor that dies as the owner is recovered from" dies_as_owner
check "a predecessor that dies in its window is recovered from" predecessors_die
check "no I/O failed" end_load
check "nothing is lost" verify
check "no device is left, the kernel's setting is as before" stop
