# Soak of the native window: HANDOFFS handoffs and KILLS SIGKILLs of the serving engine under load,
# in rounds of a hundred handoffs with kills among them. Each round has journals of its own, as
# nothing is ever uploaded, and ends with all that can be checked: fio's passes, the independent
# write log, the kernel's log, devices, descriptors and threads. MINUTES bounds it: what was not
# reached then is a failure. Started by hack/soak.ts.
HANDOFFS=${HANDOFFS:-1000}
KILLS=${KILLS:-200}
MINUTES=${MINUTES:-240}
DEVICES=${DEVICES:-2}
# Each successor reads all that its round has written, which is most of its time.
RATE=40
source test/vm/report.sh
source test/vm/handoff.sh
ROUNDS=$(((HANDOFFS + 99) / 100))
# A little behind what is over anyway: the last round ends in order.
late() { ((SECONDS > MINUTES * 60 - 120)); }

# Of a round, the kills are spread evenly among its handoffs.
steps() { # HANDOFFS KILLS
  local number killed=0
  for ((number = 1; number <= $1; number++)); do
    ! late || return 0
    hand_over "$number" || return
    # What leaks grows; looking for it each time would take as long as the handoffs.
    ((number % 10 != 0 && number != $1)) || nothing_leaked || return
    echo handoff >>/run/done
    while ((killed * $1 < number * $2)); do
      ((++killed))
      all_in_flight && kill_engine "$(owner)" && recover "k$killed" && load_goes_on || return
      echo kill >>/run/done
    done
    ((number % 25 != 0)) || progress "$(reached) after $((SECONDS / 60)) minutes"
    rm -f $ENGINES/$((number - 1)).*
  done
}

reached() { echo "$(grep -c handoff /run/done) handoffs, $(grep -c kill /run/done) kills"; }

first() { fresh_node && engine first serve && serves first; }

# How many of TOTAL fall to ROUND.
share_of() { echo $((($1 * $2) / ROUNDS - ($1 * ($2 - 1)) / ROUNDS)); } # TOTAL ROUND

one_round() { # ROUND
  first || return
  rm -f /run/load.* /dev/shm/log.*
  start_load
  steps "$(share_of "$HANDOFFS" "$1")" "$(share_of "$KILLS" "$1")" || return
  end_load && verify && stop && kernel_is_clean
}

reached_all() {
  reached
  [ "$(grep -c handoff /run/done)" = "$HANDOFFS" ] && [ "$(grep -c kill /run/done)" = "$KILLS" ]
}

touch /run/done
for ((round = 1; round <= ROUNDS; round++)); do
  ! late || break
  check "round $round of $ROUNDS" one_round $round | tee /run/round
  ! grep -q '^not ok' /run/round || break
  progress "$(reached) after $((SECONDS / 60)) minutes"
done
check "$HANDOFFS handoffs and $KILLS kills" reached_all
reached
