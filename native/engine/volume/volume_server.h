// Runs one volume: its thread, its loop, the volume itself and whatever transports serve it.
//
// Thread: Start, With and Close from the owner's thread; the callbacks run where each says.
// Ownership: owns everything below it; members are in teardown order.
// Crash: nothing here outlives the process but the journal, and the ublk device, which waits
// QUIESCED.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "engine/loop/loop.h"
#include "engine/nbd/nbd_server.h"
#include "engine/ublk/ublk_queue.h"
#include "engine/volume/volume.h"

namespace weir {

class VolumeServer {
 public:
  struct Parts {
    CleanCache* cache = nullptr;
    Worker* background = nullptr;
    Worker* foreground = nullptr;
    std::unique_ptr<VolumeHost> host;
  };
  explicit VolumeServer(Parts parts);
  // REQUIRES that Close() has run, or that Start() reported an error.
  ~VolumeServer();

  // kWarm: beside the engine that serves the volume still (Volume::OpenWarm).
  enum class Mode : uint8_t { kOwner, kWarm };
  // Replays the journal on the new thread, then serves. `opened` runs on that thread.
  void Start(VolumeConfig config, VolumeBase base, std::function<void(Result<VolumeStats>)> opened,
             Mode mode = Mode::kOwner);
  // Runs `task` on the loop thread with the volume. REQUIRES a successful Start().
  void With(std::function<void(VolumeServer&)> task);
  // Blocks until the thread has ended and the workers have run everything of this volume. ublk
  // devices still served are abandoned: they wait QUIESCED for the next server. Not on the loop
  // thread.
  void Close();

  // Ends the thread and closes its ring, which lets go of a ublk device on every kernel; volume,
  // tasks and timers stay for Unpark(). REQUIRES that no request is on the ring but ublk's own.
  void Park();
  Result<void> Unpark();
  [[nodiscard]] bool parked() const noexcept { return parked_; }

  // Loop thread only.
  [[nodiscard]] Volume& volume() noexcept { return *volume_; }
  [[nodiscard]] Loop& loop() noexcept { return *loop_; }
  std::unique_ptr<NbdServer> nbd;
  std::unique_ptr<UblkQueue> ublk;
  uint32_t ublk_id = 0;             // while ublk is there
  std::function<void()> ublk_gone;  // once, when the queue has ended

 private:
  void Run(const VolumeConfig& config, VolumeBase base,
           const std::function<void(Result<VolumeStats>)>& opened, Mode mode);
  // Waits until `worker` has run what was posted to it so far.
  static void Drain(Worker& worker);

  Parts parts_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Volume> volume_;
  std::thread thread_;
  bool parked_ = false;
};

}  // namespace weir
