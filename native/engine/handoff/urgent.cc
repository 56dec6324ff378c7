#include "engine/handoff/urgent.h"

#include <sched.h>

#include <thread>

#include "engine/base/signals_blocked.h"

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

namespace weir {

// The lowest of the real-time priorities is above every thread that has none.
void SetUrgency(Urgency urgency) noexcept {
  const bool urgent = urgency != Urgency::kNone;
  int policy = urgent ? SCHED_FIFO : SCHED_OTHER;
  if (urgency == Urgency::kThread) policy |= SCHED_RESET_ON_FORK;
  sched_param param{};
  param.sched_priority = urgent ? ::sched_get_priority_min(SCHED_FIFO) : 0;
  (void)::sched_setscheduler(0, policy, &param);
}

void RunUrgently(const std::function<void()>& job) {
  const SignalsBlocked blocked;
  std::thread thread([&job] {
    SetUrgency(Urgency::kWithWorkers);
    job();
  });
  thread.join();
}

}  // namespace weir
