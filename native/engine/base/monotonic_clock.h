// The clock of deadlines and durations: never set back, the same for every process of a boot.
#pragma once

#include <time.h>

#include <cstdint>

namespace weir {

// CLOCK_MONOTONIC in nanoseconds. Any thread; no system call where the kernel maps its clock.
[[nodiscard]] inline uint64_t MonotonicNs() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace weir
