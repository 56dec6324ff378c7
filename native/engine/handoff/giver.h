// The predecessor's window: all volumes go to the engine at the other end of the socket, or stay.
// They go in batches, so that one waits for its own batch and not for all.
//
// Thread: GiveAll() blocks its caller, which is neither a loop thread nor JavaScript's.
// Invariant (I9): each volume is served by this engine, or by the other one, never by both. What
//   was sent is the other engine's if it claims generation g+1 (owners.h), which it does before it
//   touches anything. The predecessor claims only when it takes everything back; what it has not
//   sent nobody else can serve, as its journal's lock and its device are here.
// Crash: of the other engine before its claim: everything is taken back. After it: kLost. Of this
//   engine: the devices wait; the other engine, or the next one, goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/handoff/device_stall.h"
#include "engine/handoff/handoff_socket.h"
#include "engine/volume/volume_server.h"

namespace weir {

// What both sides' windows are given.
struct WindowOptions {
  HandoffSocket* socket = nullptr;
  std::string owners;        // folder of the owners' files
  uint64_t generation = 0;   // the predecessor's
  std::string identity;      // what a claim writes
  uint64_t deadline_ns = 0;  // from the call, and from each batch
  size_t batch = 0;          // the predecessor's: volumes at a time; 0: all, for older successors
  // Tests: called by name in front of each step that another process, or a later one, can see.
  std::function<void(const char*)> at_step = [](const char*) {};
};

struct GiveVolume {
  Uid uid;
  VolumeServer* server = nullptr;
};

struct GiveOutcome {
  enum class Kind : uint8_t { kGiven, kKept, kLost };
  Kind kind = Kind::kKept;
  std::string reason;
  uint64_t generation = 0;  // kKept: this engine's by now
  std::vector<DeviceStall> devices;
  std::vector<Uid> lost;  // kLost: volumes that are the other engine's; the rest is served here
};

// How many volumes at a time stall the least: the work for one keeps two CPUs busy.
[[nodiscard]] size_t BatchOfThisMachine();

GiveOutcome GiveAll(const WindowOptions& options, const std::vector<GiveVolume>& volumes);

}  // namespace weir
