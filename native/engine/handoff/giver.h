// The predecessor's window: all volumes go to the engine at the other end of the socket, or stay.
//
// Thread: GiveAll() blocks its caller, which is neither a loop thread nor JavaScript's.
// Invariant (I9): this engine serves, or the other one does, never both: whoever claims generation
//   g+1 first (owners.h). The predecessor claims only when it takes everything back.
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
  uint64_t deadline_ns = 0;  // from the call
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
};

GiveOutcome GiveAll(const WindowOptions& options, const std::vector<GiveVolume>& volumes);

}  // namespace weir
