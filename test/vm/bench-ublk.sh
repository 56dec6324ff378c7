# Prints one `result TARGET JOB ROUND IOPS MEAN_US P99_US CPU_US` for each fio run, targets in turn
# within each round, all in one boot. ROUNDS and SECONDS_EACH come from hack/bench/ublk.ts.
set -u
modprobe ublk_drv
BUILD=native/build/release
SIZE=268435456
STORE=file:///mnt/disk/store
mkdir -p /mnt/disk/store
weir() { csi-node/cli/weir --store $STORE --state /mnt/disk/state --run /run/weir "$@"; }

cat >/run/config.json <<'JSON'
{"journalBytes": 2147483648, "holdUploads": true, "cacheFileBytes": 0}
JSON

start_weir() {
  csi-node/cli/weir --store $STORE --state /mnt/disk/state --run /run/weir \
    serve --config /run/config.json >/run/serve.log 2>&1 &
  PIDS[weir]=$!
  for _ in {1..600}; do [ -S /run/weir/control.sock ] && break; sleep 0.1; done
  weir create bench --size $SIZE >/dev/null
  DEVICES[weir]=$(weir attach bench --transport ublk --max-dirty 2G)
}

start_bare() { # KIND
  local out=/run/bare.$1 more=()
  [ "$1" = file ] && more=(--file /mnt/disk/bare)
  $BUILD/bare-target --kind "$1" "${more[@]}" --size $SIZE --ublk --depth 128 >"$out" 2>&1 &
  PIDS[$1]=$!
  for _ in {1..300}; do grep -q ready "$out" && break; sleep 0.1; done
  DEVICES[$1]=$(sed -n 's/^ready //p' "$out")
}

cpu_ticks() { # PID
  sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'
}

measure() { # TARGET DEPTH ROUND
  local before after out=/run/fio.json
  before=$(cpu_ticks "${PIDS[$1]}")
  fio --name=bench --filename="${DEVICES[$1]}" --ioengine=io_uring --direct=1 --rw=randwrite \
    --bs=4k --iodepth="$2" --size=$SIZE --time_based --runtime="$SECONDS_EACH" \
    --output-format=json >$out 2>/dev/null
  after=$(cpu_ticks "${PIDS[$1]}")
  python3 - "$out" "$1" "randwrite-$2" "$3" $((after - before)) <<'PY'
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index("{"):])["jobs"][0]["write"]
clat = job["clat_ns"]
cpu_us = float(sys.argv[5]) * 10000 / max(job["total_ios"], 1)
print("result", *sys.argv[2:5], round(job["iops"], 1), round(clat["mean"] / 1000, 1),
      clat["percentile"]["99.000000"] / 1000, round(cpu_us, 1))
PY
}

declare -A PIDS DEVICES
start_weir
start_bare file
start_bare null
# Both fill their files once, so that no run pays for first allocation.
for target in file weir; do
  fio --name=fill --filename="${DEVICES[$target]}" --ioengine=io_uring --direct=1 --rw=write \
    --bs=128k --iodepth=4 --size=$SIZE >/dev/null
done
for ((round = 1; round <= ROUNDS; round++)); do
  for depth in 1 32; do
    for target in null file weir; do measure $target $depth "$round"; done
  done
done
