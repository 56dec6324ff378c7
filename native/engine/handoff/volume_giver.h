// One volume's steps on the predecessor's side of the window.
//
// Thread: a thread of the crew, one call at a time; never a loop thread, as every call blocks.
// Invariant (I9): from the moment Freeze() returned, nothing that this engine started can change
// the
//   volume or its device, until Revive().
// Crash: as of any engine: the device waits QUIESCED, the journal is whole.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "engine/handoff/handoff_socket.h"
#include "engine/handoff/window_messages.h"
#include "engine/nbd/nbd_server.h"
#include "engine/ublk/ublk_control.h"
#include "engine/volume/volume_server.h"

namespace weir {

class VolumeGiver {
 public:
  VolumeGiver(const Uid& uid, VolumeServer& server);

  // Stops the journal's background work and makes ready what the window needs. I/O goes on.
  Result<void> Rest(uint64_t until_ns);
  // Starts no request any more and waits for those that the local disk holds; what waits for
  // anything else is left to the next server.
  Result<void> Freeze(uint64_t until_ns);
  // Lets go of the ublk device. REQUIRES Freeze().
  Result<void> Leave(uint64_t until_ns);
  // `batch`: so many volumes change hands with this one (window_messages.h).
  Result<void> Send(HandoffSocket& socket, uint32_t batch, uint64_t until_ns);
  // From then on the other engine may serve it, as soon as it has claimed.
  [[nodiscard]] bool sent() const noexcept { return sent_; }
  // Serves on, whatever step was reached. Errors: the device could not be had again.
  Result<void> Revive();
  // Another process owns the volume: only closing the server is allowed any more.
  void LetGo();

  [[nodiscard]] const Uid& uid() const noexcept { return uid_; }

 private:
  enum class Stage : uint8_t { kServing, kResting, kFreezing, kFrozen, kLeaving, kLeft };
  void OnFrozen(VolumeServer& at);
  Result<void> ServeAgain();

  const Uid uid_;
  VolumeServer& server_;
  Stage stage_ = Stage::kServing;
  std::unique_ptr<UblkControl> control_;  // of this volume alone, so that none waits for another
  UblkDeviceInfo device_;
  bool worker_runs_through_ = false;  // of the driver, where that matters
  std::future<void> frozen_;
  // Of the moment that it was at rest.
  bool failed_ = false;
  bool syncs_ = false;
  bool sent_ = false;
  NbdHandover nbd_;
  window::VolumeBody body_;
};

}  // namespace weir
