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
