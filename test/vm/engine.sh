# Sourced by guest scripts: one engine with a directory store on the guest's disk. `check` runs what
# it checks in a subshell, so everything that the steps hand on lies in files.
STORE=file:///mnt/disk/store
STATE=/mnt/disk/state
LOG=/mnt/disk/serve.log
BUILD=native/build/release
# Spares later processes the stripping of types, by WebAssembly: faster, and less compiled code, of
# which V8's bookkeeping ("it->second.Size() > offset") fails now and then in an emulated guest.
export NODE_COMPILE_CACHE=/run/node-cache
modprobe ublk_drv
mkdir -p /mnt/disk/store

# Copies in the guest's memory: a build on the host meanwhile must not change what runs here.
for program in weir.node oracle fsx bare-target; do
  cp $BUILD/$program /run/$program && mv /run/$program $BUILD/$program
done

weir() { csi-node/cli/weir --store $STORE --state $STATE --run /run/weir "$@"; }

# A small journal: under emulation, replaying a large one would be most of a test's time.
[ -f /run/config.json ] || cat >/run/config.json <<'JSON'
{"journalBytes": 67108864, "journalFileBytes": 4194304, "cacheFileBytes": 67108864}
JSON

# An engine that ends leaves its status behind, so that none is ever lost in silence.
start_engine() {
  rm -f /run/weir/control.sock /run/engine.pid /run/engine.status
  (
    # Not through the function: the pid must be the engine's own.
    csi-node/cli/weir --store $STORE --state $STATE --run /run/weir serve \
      --config /run/config.json &
    echo $! >/run/engine.pid
    wait $!
    echo $? >/run/engine.status
  ) >>$LOG 2>&1 &
  for _ in {1..1800}; do
    [ -S /run/weir/control.sock ] && return
    engine_lives || return
    sleep 0.1
  done
  echo "the engine does not serve"
  cat $LOG
  return 1
}

last_words() { tail -n 20 $LOG; }

engine_lives() { # Else says how it ended: status or signal, its last words and the kernel's.
  [ -f /run/engine.status ] || return 0
  local status
  status=$(cat /run/engine.status)
  echo "the engine ended by itself: status $status" \
    "$([ "$status" -gt 128 ] && echo "SIG$(kill -l "$status")")"
  tail -n 40 $LOG
  dmesg | tail -n 10
  return 1
}

kill_engine() {
  engine_lives || return
  kill -KILL "$(cat /run/engine.pid)"
  await [ -f /run/engine.status ] || return
  # Whatever it died of in between was not this kill.
  [ "$(cat /run/engine.status)" = 137 ] || engine_lives
}

device() { cat /run/device; }
attach() { weir attach "$1" --transport ublk --max-dirty-age 500ms >/run/device; }
no_device() { ! ls /dev/ublkb* 2>/dev/null; }
no_warnings() { ! grep -E '"level":(40|50|60)' $LOG; }
