// A thread that users wait for runs before all others: requests wait from the freeze to the first
// one served, and on a busy node each step in between would first wait for a processor.
//
// Thread: the calling one. It must sleep more than it works, and be told when the window is over.
// Failure: where the system refuses (no CAP_SYS_NICE) all stays as it was.
#pragma once

#include <cstdint>
#include <functional>

namespace weir {

enum class Urgency : uint8_t {
  kNone,
  kThread,
  // And the threads that it makes, as io_uring's that carry out its commands: these stay urgent for
  // as long as it lives, so it has to end with the window.
  kWithWorkers,
};

void SetUrgency(Urgency urgency) noexcept;

// Runs `job` on a thread of its own, urgent with its workers, and waits.
void RunUrgently(const std::function<void()>& job);

}  // namespace weir
