// One volume's share of a handoff's window, for the log and the metrics.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/handoff/window_messages.h"

namespace weir {

struct DeviceStall {
  Uid uid;
  window::Transport transport = window::Transport::kNone;
  uint64_t stall_us = 0;  // from the first request not started to requests served again
  uint64_t begin_ns = 0;  // the same, on CLOCK_MONOTONIC
  uint64_t end_ns = 0;
  std::vector<std::pair<const char*, uint64_t>> phases_us;  // its parts, in order
};

// `body` of a kServing message: all of it is on one clock.
[[nodiscard]] DeviceStall StallOf(const window::VolumeBody& body);

}  // namespace weir
