# Goal: ublk devices change hands between processes, again and again under load, without an I/O
# error and without a lost block; and whoever dies at whatever step of the window, one engine serves
# afterwards (I9).
# Method: the native window by itself (handoff.sh), the independent write log and fio's verification
# on every device. A cell strikes one engine or both at a step, with requests in flight on each
# device; the status of the dead proves that the fault fired. Prints each handoff's stalls.
# By hand: hack/run vm --kernel K --memory 6G -- "bash THIS HANDOFFS DEVICES all|some|pieces|no".
HANDOFFS=${1:-${HANDOFFS:-50}}
DEVICES=${2:-${DEVICES:-1}}
CELLS=${3:-${CELLS:-all}}
source test/vm/report.sh
source test/vm/handoff.sh

many() {
  local number
  for ((number = 1; number <= HANDOFFS; number++)); do
    hand_over $number || return
    progress "$number: $(head -n 1 $ENGINES/$number.out)"
    nothing_leaked || return
    nap "0.$((RANDOM % 3))"
  done
  grep -ho '"stallUs":[0-9]*' $ENGINES/*.out | cut -d: -f2 | sort -n >/run/stalls
  local count p50
  count=$(wc -l </run/stalls)
  p50=$(sed -n "$((count / 2 + 1))p" /run/stalls)
  progress "stall of a device in us: p50 $p50, max $(tail -n 1 /run/stalls), $count of them"
  load_goes_on
}

# A cell begins with a fresh predecessor, to which a fault may have been given, under load.
cell() { # NAME PREDECESSOR'S ARGUMENTS...
  progress "cell: $1"
  hand_over "p-$1" "${@:2}" && load_goes_on || return
  all_in_flight
}

# One engine serves again, and it has all that was waiting.
cell_ends() { # NAME
  load_goes_on && nothing_leaked || return
  echo "$1" >>/run/cells
}

recovered() { # NAME: what was in flight is still, until a new engine has it
  all_in_flight && recover "r-$1" && cell_ends "$1"
}

# Before it owns anything: the predecessor serves on.
successor_dies() { # STEP
  cell "s-$1" || return
  engine dead take --fault "$1:kill"
  ends_with dead 137 && await said "p-s-$1" '"kept"' || return
  cell_ends "s-$1"
}

# When it owns everything: the predecessor must not serve again. At the second time of a step of
# several devices, it serves one of them and has just been given the next.
owner_dies() { # STEP [TIME]
  local name=s-$1${2:-}
  cell "$name" || return
  engine dead take --fault "$1:kill" --fault-at "${2:-1}"
  ends_with dead 137 && ends_with "p-$name" 0 && said "p-$name" '"lost"' || return
  recovered "$name"
}

# Its successor has heard everything and takes over, or refuses and the next start recovers.
predecessor_dies() { # STEP
  cell "p-$1" --give-fault "$1:kill" || return
  engine "t-$1" take
  ends_with "p-p-$1" 137 && await said "t-$1" outcome || return
  progress "$(head -n 1 $ENGINES/t-"$1".out)"
  if said "t-$1" '"taken"'; then
    serves "t-$1" && cell_ends "p-$1"
  else
    ends_with "t-$1" 1 && recovered "p-$1"
  fi
}

stopped() { [ "$(sed 's/.*) //' /proc/"$(pid_of "$1")"/stat | cut -c 1)" = T ]; }

# The successor stands still at STEP while the predecessor dies, then dies as well.
both_die() { # STEP
  cell "b-$1" || return
  engine dead take --fault "$1:stop"
  await stopped dead && kill_engine "p-b-$1" && kill_engine dead && recovered "b-$1"
}

# Each dies by itself: the successor at STEP, the predecessor when it takes everything back.
one_after_the_other() { # STEP PREDECESSOR'S STEP
  cell "b-$1-$2" --give-fault "$2:kill" || return
  engine dead take --fault "$1:kill"
  ends_with dead 137 && ends_with "p-b-$1-$2" 137 && recovered "b-$1-$2"
}

only_engine_dies() { # NUMBER
  cell "e-$1" && kill_engine "p-e-$1" && recovered "e-$1"
}

some_cells() {
  successor_dies claim && owner_dies serve && predecessor_dies send && both_die follow &&
    one_after_the_other follow claim && only_engine_dies 1 || return
  progress "$(wc -l </run/cells) cells"
  [ "$(sort -u /run/cells | wc -l)" = 6 ]
}

# Some devices have changed hands, and some have not. For 8 devices.
pieces_cells() {
  owner_dies follow 2 && owner_dies serve 5 || return
  [ "$(sort -u /run/cells | wc -l)" = 2 ]
}

all_cells() {
  local step
  for step in prepare rested follow claim; do successor_dies $step || return; done
  for step in serve taken; do owner_dies $step || return; done
  for step in rest freeze leave send; do predecessor_dies $step || return; done
  for step in prepare rested follow claim serve taken; do both_die $step || return; done
  for step in claim revive; do one_after_the_other follow $step || return; done
  for step in freeze leave send; do one_after_the_other refuse $step || return; done
  for step in 1 2 3; do only_engine_dies $step || return; done
  progress "$(wc -l </run/cells) cells"
  [ "$(sort -u /run/cells | wc -l)" = 24 ]
}

no_cells() { :; }

first() { engine first serve && serves first; }

progress "$(uname -r), $DEVICES devices"
check "devices are served" first
start_load
check "$HANDOFFS handoffs of $DEVICES devices under load" many
check "whoever dies at whatever step: $CELLS cells, $DEVICES devices" "${CELLS}_cells"
check "no I/O failed" end_load
check "nothing is lost" verify
check "no device is left, the kernel's setting is as before" stop
check "the kernel's log is clean" kernel_is_clean
