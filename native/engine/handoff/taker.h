// The successor's window: takes all volumes that the engine at the other end of the socket serves,
// or none.
//
// Thread: TakeAll() blocks its caller, which is neither a loop thread nor JavaScript's.
// Invariant (I9): nothing is changed before this engine has claimed generation g+1 (owners.h). It
//   claims when it has followed the first batch, and can not go back from then on.
// Crash: before the claim the predecessor goes on; after it, whoever claims g+2 recovers what was
//   sent, and the predecessor goes on with the rest.
#pragma once

#include <string>
#include <vector>

#include "engine/handoff/giver.h"
#include "engine/nbd/nbd_server.h"

namespace weir {

struct TakeVolume {
  Uid uid;
  VolumeServer* server = nullptr;  // warm
  window::Transport transport = window::Transport::kNone;
  NbdConfig nbd;  // kNbd: where and under which name
};

struct TakeOutcome {
  // kBroken: this engine has claimed, but does not serve everything. Only the end of this process,
  // as a crash, lets another engine recover what it has.
  enum class Kind : uint8_t { kTaken, kRefused, kBroken };
  Kind kind = Kind::kRefused;
  std::string reason;
  std::vector<DeviceStall> devices;
};

TakeOutcome TakeAll(const WindowOptions& options, const std::vector<TakeVolume>& volumes);

}  // namespace weir
