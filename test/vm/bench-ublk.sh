# Measures Weir over ublk beside two bare targets of our own server, in turn within each round, all
# in one boot. ROUNDS and SECONDS_EACH come from hack/bench/ublk.ts, which reads the results:
# /mnt/share/fio/TARGET.JOB.ROUND holds fio's report, `...ticks` the server's processor time.
#
# Both work in files that were written before and lie in the page cache: a guest's first touch of
# memory can cost more than all the rest of a write, and it is no property of either server. So the
# journal has been round once when the rounds begin, each run is bounded in bytes, and a round's
# writes fit in what the journal keeps free in quiet moments.
source test/vm/report.sh
# Uploads wait, as while the bucket is away: the node's own speed.
cat >/run/config.json <<'JSON'
{"journalBytes": 805306368, "journalFileBytes": 33554432, "cacheRamBytes": 268435456,
  "cacheFileBytes": 0, "holdUploads": true}
JSON
source test/vm/engine.sh
SIZE=134217728
RUN_BYTES=67108864
declare -A PIDS DEVICES

# Not through `check`: what they start and note must stay in this shell.
start_weir() {
  start_engine && weir create bench --size $SIZE || return
  DEVICES[weir]=$(weir attach bench --transport ublk --max-dirty 768M) || return
  PIDS[weir]=$(cat /run/engine.pid)
  pin "${PIDS[weir]}" weir-volume
}

# The thread of that name, which serves the device, to the second processor; the load has the first.
# Left alone, both land on one of them now and then, for a whole run.
pin() { # PID NAME
  local thread pinned=0
  for thread in /proc/"$1"/task/*; do
    [ "$(cat "$thread/comm")" = "$2" ] || continue
    taskset -pc 1 "${thread##*/}" >/dev/null || return
    pinned=1
  done
  [ $pinned = 1 ] || { echo "no thread $2 in process $1"; return 1; }
}

start_bare() { # KIND
  local out=/run/bare.$1 more=()
  [ "$1" = file ] && more=(--file /mnt/disk/bare)
  $BUILD/bare-target --kind "$1" "${more[@]}" --size $SIZE --ublk --depth 128 >"$out" 2>&1 &
  PIDS[$1]=$!
  for _ in {1..300}; do
    grep -q ready "$out" && break
    sleep 0.1
  done
  DEVICES[$1]=$(sed -n 's/^ready //p' "$out")
  [ -n "${DEVICES[$1]}" ] || { cat "$out"; return 1; }
  pin "${PIDS[$1]}" bare-target
}

cpu_ticks() { # PID
  sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'
}

load() { # TARGET OPTIONS...
  taskset -c 0 fio --name=bench --filename="${DEVICES[$1]}" \
    --ioengine=io_uring --direct=1 --size=$SIZE \
    --output-format=json "${@:2}"
}

measure() { # TARGET RW DEPTH ROUND
  local before report=/mnt/share/fio/$1.$2-$3.$4
  before=$(cpu_ticks "${PIDS[$1]}")
  load "$1" --rw="$2" --bs=4k --iodepth="$3" --runtime="$SECONDS_EACH" \
    --io_size=$RUN_BYTES --randrepeat=0 --norandommap >"$report" || exit 1
  echo $(($(cpu_ticks "${PIDS[$1]}") - before)) >"$report.ticks"
}

fill() { load "$1" --rw=write --bs=128k --iodepth=4 >/dev/null || exit 1; }

# A snapshot uploads everything, so that the journal's files can be used again.
upload() { weir snapshot bench "upload-$1" >/dev/null && sync || exit 1; }

mkdir -p /mnt/share/fio
start_weir || exit 1
start_bare file || exit 1
start_bare null || exit 1
fill file
for part in 1 2 3 4 5 6 7; do fill weir && upload "fill-$part"; done
for ((round = 1; round <= ROUNDS; round++)); do
  # Whoever comes second finds the disk busy with what the first one wrote: so they change places.
  order=(null file weir)
  ((round % 2)) || order=(weir file null)
  for rw in randwrite randread; do
    for depth in 1 32; do
      for target in "${order[@]}"; do measure $target $rw $depth "$round"; done
    done
  done
  upload "$round"
done
engine_lives || exit 1
