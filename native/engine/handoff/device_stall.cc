#include "engine/handoff/device_stall.h"

namespace weir {
namespace {

uint64_t MicrosecondsBetween(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? (to_ns - from_ns) / 1000 : 0;
}

}  // namespace

DeviceStall StallOf(const window::VolumeBody& body) {
  return {.uid = window::UidOf(body),
          .transport = static_cast<window::Transport>(body.transport),
          .stall_us = MicrosecondsBetween(body.frozen_ns, body.serving_ns),
          .begin_ns = body.frozen_ns,
          .end_ns = body.serving_ns,
          .phases_us = {{"rest", MicrosecondsBetween(body.frozen_ns, body.rested_ns)},
                        {"leave", MicrosecondsBetween(body.rested_ns, body.left_ns)},
                        {"claim", MicrosecondsBetween(body.left_ns, body.claimed_ns)},
                        {"serve", MicrosecondsBetween(body.claimed_ns, body.serving_ns)}}};
}

}  // namespace weir
