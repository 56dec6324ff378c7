# Measures Weir over ublk beside two bare targets of our own server, in turn within each round, all
# in one boot. ROUNDS and SECONDS_EACH come from hack/bench/ublk.ts, which reads the results:
# /mnt/share/fio/TARGET.JOB.ROUND holds fio's report, `...ticks` the server's processor time.
source test/vm/report.sh
# The journal takes all that is written: the node's own speed, as while the bucket is away.
cat >/run/config.json <<'JSON'
{"journalBytes": 12884901888, "holdUploads": true, "cacheFileBytes": 0}
JSON
source test/vm/engine.sh
SIZE=268435456
declare -A PIDS DEVICES

# Not through `check`: what they start and note must stay in this shell.
start_weir() {
  start_engine && weir create bench --size $SIZE || return
  DEVICES[weir]=$(weir attach bench --transport ublk --max-dirty 12G) || return
  PIDS[weir]=$(cat /run/engine.pid)
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
}

cpu_ticks() { # PID
  sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'
}

load() { # TARGET OPTIONS...
  fio --name=bench --filename="${DEVICES[$1]}" --ioengine=io_uring --direct=1 --size=$SIZE \
    --output-format=json "${@:2}"
}

measure() { # TARGET RW DEPTH ROUND
  local before report=/mnt/share/fio/$1.$2-$3.$4
  before=$(cpu_ticks "${PIDS[$1]}")
  load "$1" --rw="$2" --bs=4k --iodepth="$3" --time_based --runtime="$SECONDS_EACH" \
    --randrepeat=0 --norandommap >"$report" || exit 1
  echo $(($(cpu_ticks "${PIDS[$1]}") - before)) >"$report.ticks"
}

mkdir -p /mnt/share/fio
start_weir || exit 1
start_bare file || exit 1
start_bare null || exit 1
# Both fill their files once, so that reads find data and no run pays for first allocation.
for target in file weir; do load $target --rw=write --bs=128k --iodepth=4 >/dev/null || exit 1; done
for ((round = 1; round <= ROUNDS; round++)); do
  for rw in randwrite randread; do
    for depth in 1 32; do
      for target in null file weir; do measure $target $rw $depth "$round"; done
    done
  done
done
engine_lives || exit 1
