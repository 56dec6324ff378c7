# Measures what a handoff costs the users of ublk devices, beside the floor: null servers that only
# make the kernel's transitions. Both in one boot, for 1 and 8 devices, with 1 and 8 requests in
# flight on each. HANDOFFS and BASE_SECONDS come from hack/bench/handoff.ts, which reads the
# results: /mnt/share/handoff/WHO.DEVICES.DEPTH.requests holds each request of the load
# (stall-load), `...windows` the base, without a handoff, and each handoff of each device.
source test/vm/report.sh
ulimit -l unlimited

# The time that `base` and the windows are on; the guest never sleeps.
now_ns() { awk '{ printf "%.0f", $1 * 1e9 }' /proc/uptime; }

start_stall_load() { # DEPTH OUT
  local nodes=() at
  for ((at = 0; at < DEVICES; at++)); do nodes+=(/dev/ublkb$at); done
  # With eight devices, pauses keep the sum of all load near that of one device.
  /run/bin/stall-load --out "$2" --depth "$1" --pause-us $((DEVICES > 1 ? 2000 * $1 : 0)) \
    "${nodes[@]}" >/run/load.out 2>&1 3>&- &
  echo $! >/run/load.pid
}

end_stall_load() {
  kill -TERM "$(cat /run/load.pid)"
  tail --pid="$(cat /run/load.pid)" -f /dev/null
  [ ! -s /run/load.out ] || { cat /run/load.out; return 1; }
}

base() { # WINDOWS: a load that nothing disturbs
  local begin
  sleep 2 # until the load is in its stride
  begin=$(now_ns)
  sleep "$BASE_SECONDS"
  echo "base $begin $(now_ns)" >"$1"
}

# The windows of an engine's words about a handoff, in the order of its devices.
windows() { # FILES...
  grep -h '"taken"' "$@" | while read -r line; do
    grep -o '"beginNs":[0-9]*,"endNs":[0-9]*' <<<"$line" | tr -dc '0-9,\n' | tr ',' ' ' |
      awk '{ print NR - 1, $0 }'
  done
}

measure_floor() { # DEPTH
  local out=/mnt/share/handoff/floor.$DEVICES.$1 pid
  # Slowly enough that what a handoff leaves to be done is done before the next one.
  /run/bin/handoff-floor --devices "$DEVICES" --wait $((BASE_SECONDS + 4)) --every 200 \
    --handoffs "$HANDOFFS" >/run/floor.out 2>&1 3>&- &
  pid=$!
  await grep -q ready /run/floor.out || return
  start_stall_load "$1" "$out.requests"
  base "$out.windows"
  await grep -q done /run/floor.out || return
  windows /run/floor.out >>"$out.windows"
  end_stall_load && kill -TERM $pid && tail --pid=$pid -f /dev/null && no_device
}

measure_engine() { # DEPTH
  local out=/mnt/share/handoff/engine.$DEVICES.$1 number
  fresh_node
  engine 0 serve && serves 0 || return
  start_stall_load "$1" "$out.requests"
  base "$out.windows"
  for ((number = 1; number <= HANDOFFS; number++)); do
    hand_over $number || { last_words; return 1; }
    nap 0.2
  done
  windows $ENGINES/*.out >>"$out.windows"
  end_stall_load && stop
}

mkdir -p /mnt/share/handoff
for DEVICES in 1 8; do
  source test/vm/handoff.sh
  # All that one device takes without pauses, which is more than a load with pauses writes.
  [ $DEVICES -gt 1 ] || JOURNAL=$((12 << 30))
  cp $BUILD/stall-load $BUILD/handoff-floor /run/bin/
  for depth in 1 8; do
    measure_floor $depth || exit 1
    measure_engine $depth || exit 1
    progress "$DEVICES devices, $depth in flight: measured"
  done
done
kernel_is_clean || exit 1
