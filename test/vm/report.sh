# Sourced by guest scripts: reports one line for each check, as hack/test/count.ts reads them.

# check NAME COMMAND...: `ok NAME`, or `not ok NAME` with what the command printed.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "ok $name"
  else
    printf 'not ok %s: %s\n%s\n' "$name" "status $?" "$output"
  fi
}

# A check for the end of a test in which no device may have failed a request. What is always a fault
# the host finds as well (hack/vm/boot.ts).
kernel_is_clean() {
  local faults='I/O error|refcount|file count is 0|corruption|BUG|WARNING|Oops|hung task|lockup'
  ! dmesg | grep -E "$faults"
}

# nap SECONDS: as sleep, but no program that is started: in an emulated guest each takes time from
# those that are tested.
exec {NAP}<> <(:)
nap() { read -rt "$1" -u "$NAP" || :; }

# await COMMAND...: until it succeeds, for at most PATIENCE seconds: long, for a guest that gets
# little of its machine. Else the script's `last_words` tell what its engines said.
await() {
  local until=$((SECONDS + ${PATIENCE:-120}))
  while ((SECONDS < until)); do
    "$@" && return
    nap 0.05
  done
  echo "in vain: $*"
  last_words
  return 1
}
