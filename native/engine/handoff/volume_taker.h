// One volume's steps on the successor's side of the window.
//
// Thread: a thread of the crew, one call at a time; never a loop thread, as every call blocks.
// Invariant (I9): up to Serve() nothing is changed, neither in the journal nor at the device, and
//   destroying the object leaves everything as it was.
#pragma once

#include <memory>
#include <vector>

#include "engine/handoff/handoff_socket.h"
#include "engine/handoff/window_messages.h"
#include "engine/nbd/nbd_server.h"
#include "engine/ublk/ublk_control.h"
#include "engine/volume/volume_server.h"

namespace weir {

class VolumeTaker {
 public:
  struct Options {
    Uid uid;
    VolumeServer& server;
    window::Transport transport;
    NbdConfig nbd;  // where and under which name the volume is served, if it is over NBD
  };
  explicit VolumeTaker(Options options);
  ~VolumeTaker();
  VolumeTaker(const VolumeTaker&) = delete;
  VolumeTaker& operator=(const VolumeTaker&) = delete;

  [[nodiscard]] const Uid& uid() const noexcept { return uid_; }
  // REQUIRES that the predecessor's journal is at rest.
  Result<void> Prepare();
  // Reads the journal to its end and opens the device. EBADMSG: something is not as it was said.
  Result<void> Follow(const window::VolumeBody& body, std::vector<UniqueFd> fds, uint64_t until_ns);
  // From here on this engine is the owner. REQUIRES that the generation was claimed.
  Result<void> Serve(uint64_t claimed_ns);

  [[nodiscard]] const window::VolumeBody& body() const noexcept { return body_; }

 private:
  Result<void> ServeNbd();

  Result<void> Open(const window::VolumeBody& body, uint64_t until_ns);
  void EndUrgency(uint64_t after_ns);

  const Uid uid_;
  VolumeServer& server_;
  const window::Transport transport_;
  const NbdConfig nbd_config_;
  std::unique_ptr<UblkControl> control_;
  std::unique_ptr<UblkQueue> queue_;
  std::vector<UniqueFd> fds_;
  std::vector<std::byte> nbd_state_;
  window::VolumeBody body_;
  bool urgent_ = false;  // the volume's loop
};

}  // namespace weir
