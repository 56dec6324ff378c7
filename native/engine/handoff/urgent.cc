#include "engine/handoff/urgent.h"

#include <pthread.h>
#include <sched.h>

#include <csignal>
#include <thread>

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
  // The thread inherits a mask that leaves every signal to the threads that expect them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([&job] {
    SetUrgency(Urgency::kWithWorkers);
    job();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  thread.join();
}

}  // namespace weir
