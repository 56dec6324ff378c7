# Sourced by guest scripts: engines that hand DEVICES ublk devices to each other, load on all of
# them, and what they may never leave behind. The engine is handoff-target: the native window on
# real journals, no bucket, no JavaScript. `check` runs what it checks in a subshell, so everything
# that the steps hand on lies in files: /run/engines/NAME.{out,pid,status}, and the NAME of the one
# that serves in /run/engines/owner.
BUILD=native/build/release
RUN=/mnt/disk/run
ENGINES=/run/engines
# Nothing is ever uploaded, so all that the load writes has to fit, however long the run.
JOURNAL=$((DEVICES > 1 ? 640 << 20 : 2048 << 20))
# Requests a second of the oracle and of fio each, on every device.
RATE=${RATE:-$((300 / DEVICES + 10))}
REGION_BLOCKS=4096 # of the oracle and of fio each, on every device; a device has 16,384
modprobe ublk_drv
mkdir -p /run/bin
# Copies in the guest's memory: a build on the host meanwhile must not change what runs here.
cp $BUILD/handoff-target $BUILD/oracle /run/bin/
exec 3>&1
# What a long step is at; the checks' own output is shown only when they fail.
progress() { echo "# $*" >&3; }

# --- engines ---

# Journals on the disk, owners in memory, as in the product.
fresh_node() {
  rm -rf $RUN $ENGINES /run/owners /run/footprint.*
  mkdir -p $RUN $ENGINES /run/owners
  ln -s /run/owners $RUN/owners
}
fresh_node

# An engine that ends leaves its status behind, so that none is ever lost in silence.
engine() { # NAME ARGUMENTS...
  local at=$ENGINES/$1
  rm -f "$at".*
  touch "$at.out"
  echo "$2" >"$at.kind"
  (
    # The deadline is for engines that hang; those that die are noticed at once.
    /run/bin/handoff-target "${@:2}" --run $RUN --volumes "$DEVICES" --journal $JOURNAL \
      --deadline 60000 &
    echo $! >"$at.pid"
    wait $!
    echo $? >"$at.status"
  ) >>"$at.out" 2>&1 3>&- &
  until [ -s "$at.pid" ]; do nap 0.01; done
}

owner() { cat $ENGINES/owner; }
pid_of() { cat "$ENGINES/$1.pid"; }
# By the shell alone, as all that is looked at again and again: in an emulated guest each program
# that is started takes time from those that are tested.
said() { # NAME WHAT
  local text
  read -r -d '' text <"$ENGINES/$1.out"
  [[ $text == *"$2"* ]]
}

last_words() { # of the newest engines, and where those that live stand
  local pid
  find $ENGINES -name '*.out' -printf '%T@ %p\n' | sort -n | tail -n 3 | cut -d ' ' -f 2 |
    xargs tail -n 3
  for pid in $(pgrep -x handoff-target); do
    grep -H . /proc/"$pid"/task/*/{comm,wchan}
  done
  dmesg | tail -n 5
}

ended() { [ -s "$ENGINES/$1.status" ]; }
serves_or_ended() { said "$1" ready || ended "$1"; }

serves() { # NAME: waits until it does, and notes it as the owner
  await serves_or_ended "$1" || return
  if ended "$1"; then
    echo "engine $1 ended: $(cat $ENGINES/"$1".status) $(cat $ENGINES/"$1".out)"
    return 1
  fi
  echo "$1" >$ENGINES/owner
}

ends_with() { # NAME STATUS
  await ended "$1" || return
  local status
  status=$(cat "$ENGINES/$1.status")
  [ "$status" = "$2" ] && return
  echo "engine $1 ended with $status instead of $2: $(cat $ENGINES/"$1".out)"
  return 1
}

kill_engine() { # NAME: and it was this kill that it died of
  kill -KILL "$(pid_of "$1")" && ends_with "$1" 137
}

hand_over() { # NAME ARGUMENTS...: a successor of that name takes everything, the former one ends
  local former
  former=$(owner)
  engine "$1" take "${@:2}"
  serves "$1" && ends_with "$former" 0
}

recover() { # NAME: whoever served is dead, and this one starts as after any crash
  engine "$1" serve --recover yes "${@:2}"
  serves "$1"
}

# --- load ---

# The oracle on the first region of each device, fio with its own verification on the second.
start_load() {
  local at
  rm -f /run/load.*
  for ((at = 0; at < DEVICES; at++)); do
    /run/bin/oracle run --target dev:/dev/ublkb$at --log /dev/shm/log.$at \
      --blocks $REGION_BLOCKS --seed $((5 + at)) --depth 8 --sizes 1-4 \
      --rate $RATE --seconds 30000 --flush-at-end \
      >/run/load.oracle.$at 2>&1 3>&- &
    echo $! >/run/load.pid.$at
    fio_load $at >/run/load.fio.$at 2>&1 3>&- &
  done
}

# Pass after pass, each ending in a read of all that it wrote.
fio_load() { # DEVICE
  until [ -f /run/load.stop ]; do
    fio --name=verify --filename=/dev/ublkb"$1" --offset=$((REGION_BLOCKS * 4096)) \
      --size=$((REGION_BLOCKS * 1024)) --ioengine=io_uring --direct=1 --rw=randwrite --bs=4k \
      --iodepth=32 --rate_iops=,$RATE --verify=crc32c --verify_fatal=1 \
      --verify_state_save=0 --minimal >/run/load.pass."$1" 2>&1 ||
      touch /run/load.failed."$1"
    echo "$?" >>/run/load.passes."$1"
    [ ! -f /run/load.failed."$1" ] || break
  done
  touch /run/load.ended."$1"
}

end_load() {
  local at status=0
  touch /run/load.stop
  for ((at = 0; at < DEVICES; at++)); do
    kill -TERM "$(cat /run/load.pid.$at)"
  done
  for ((at = 0; at < DEVICES; at++)); do
    tail --pid="$(cat /run/load.pid.$at)" -f /dev/null
    await test -f /run/load.ended.$at || status=1
    progress "ublkb$at: fio $(wc -l </run/load.passes.$at) passes; $(cat /run/load.oracle.$at)"
    grep -q '"status":"stopped"' /run/load.oracle.$at || status=1
    grep -q '"errors":0' /run/load.oracle.$at || status=1
    grep -q '"findings":\[\]' /run/load.oracle.$at || status=1
    if [ -f /run/load.failed.$at ]; then
      cat /run/load.pass.$at
      status=1
    fi
  done
  return $status
}

verify() {
  local at
  for ((at = 0; at < DEVICES; at++)); do
    /run/bin/oracle verify --target dev:/dev/ublkb$at --log /dev/shm/log.$at || return
  done
}

# Requests that a device has completed since it was made.
completed() { # DEVICE: sets COMPLETED
  local stat
  read -r -a stat </sys/block/ublkb"$1"/stat
  COMPLETED=$((stat[0] + stat[4] + stat[11] + stat[15]))
}
# Of a device without a server the driver has given its requests back to the block layer, which
# counts them as in flight no more; they keep their tags.
in_flight() { # DEVICE
  local tags
  read -r -d '' tags < <(cat /sys/kernel/debug/block/ublkb"$1"/hctx0/{,sched_}tags 2>/dev/null)
  [[ $tags =~ busy=[1-9] ]]
}
completed_beyond() { # DEVICE COUNT
  completed "$1"
  ((COMPLETED > $2))
}

all_in_flight() { # Each device has requests that wait for an answer.
  local at
  for ((at = 0; at < DEVICES; at++)); do
    await in_flight $at || return
  done
}

load_goes_on() { # What waited is answered, and new requests are.
  local at
  for ((at = 0; at < DEVICES; at++)); do
    completed $at
    await completed_beyond $at $((COMPLETED + 64)) || return
  done
}

# --- nothing stays behind ---

# Descriptors and threads of an engine, but files of journals, which grow in number with the data,
# and workers of io_uring, which come and go as the kernel likes.
footprint() { # NAME
  local pid fds threads
  pid=$(pid_of "$1")
  fds=$(find /proc/"$pid"/fd -type l ! -lname '*.jnl' | wc -l)
  threads=$(grep -sLx 'iou-wrk-.*' /proc/"$pid"/task/*/comm | wc -l)
  echo "fds $fds threads $threads"
}

# Now and then an engine has one more for a moment, as for a file that its journal makes.
no_more_than() { # NAME FILE
  local now first
  read -r -a now < <(footprint "$1")
  read -r -a first <"$2"
  ((now[1] <= first[1] && now[3] <= first[3]))
}

# Threads that run before all others; none may beyond a handoff. Its 41st field is the policy.
none_urgent() { # NAME
  ! awk '{ sub(/.*\) /, ""); if ($39 == 1) print FILENAME, $0 }' \
    /proc/"$(pid_of "$1")"/task/*/stat 2>/dev/null | grep -q .
}

# The engine that serves has no more than the first of its kind had, by a handoff or a recovery, and
# is alone.
nothing_leaked() {
  local last first nodes
  last=$(owner)
  first=/run/footprint.$(cat $ENGINES/"$last".kind)
  if [ ! -f "$first" ]; then
    sleep 3 # until its start is all over
    footprint "$last" >"$first"
    progress "an engine that was told to $(cat $ENGINES/"$last".kind) has $(cat "$first")"
  fi
  await no_more_than "$last" "$first" || {
    echo "at first: $(cat "$first"), now: $(footprint "$last")"
    ls -l /proc/"$(pid_of "$last")"/fd
    cat /proc/"$(pid_of "$last")"/task/*/comm
    return 1
  }
  await none_urgent "$last" || return
  [ "$(pgrep -xc handoff-target)" = 1 ] || { pgrep -xa handoff-target; return 1; }
  nodes=$(find /dev -name 'ublk[bc]*' | wc -l)
  [ "$nodes" = $((2 * DEVICES)) ] || { ls /dev; return 1; }
}

no_device() { ! find /dev -name 'ublk[bc]*' | grep -q .; }
no_engine() { ! pgrep -x handoff-target >/dev/null; }

stop() {
  local last
  last=$(owner)
  kill -TERM "$(pid_of "$last")" && ends_with "$last" 0 && await no_device && no_engine &&
    [ "$(cat /sys/kernel/rcu_expedited)" = 0 ]
}
