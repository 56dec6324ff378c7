// Control of ublk devices: making, starting, recovering, growing and removing them.
//
// Thread: one caller at a time, never a loop thread: every call blocks, up to kDeadlineNs (START
// and END_USER_RECOVERY even wait for what the loop thread does meanwhile). Failure: an Error with
// the kernel's errno. A command that outlives its deadline keeps its memory, because the kernel may
// still write to it.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/base/result.h"
#include "engine/ublk/ublk_uapi.h"

namespace weir {

enum class UblkState : uint16_t { kDead = 0, kLive = 1, kQuiesced = 2, kFailIo = 3 };

struct UblkDeviceInfo {
  uint32_t id = 0;
  uint16_t queue_depth = 0;
  UblkState state = UblkState::kDead;
  int32_t server_pid = 0;
  uint32_t max_io_bytes = 0;
  uint64_t features = 0;  // those the device was made with
};

struct UblkAddOptions {
  uint16_t queue_depth = 128;
  int32_t id = -1;  // -1: the kernel chooses
  uint32_t max_io_bytes = 512U << 10;
};

class UblkControl {
 public:
  static constexpr uint64_t kDeadlineNs = 30'000'000'000ULL;

  static Result<std::unique_ptr<UblkControl>> Open();
  ~UblkControl();
  UblkControl(const UblkControl&) = delete;
  UblkControl& operator=(const UblkControl&) = delete;

  // Feature bits of this kernel's driver.
  Result<uint64_t> GetFeatures();
  // Makes a device that survives its server and gives issued requests to the next one. ENOTSUP: the
  // driver is too old for that.
  Result<UblkDeviceInfo> Add(const UblkAddOptions& options);
  // REQUIRES that the device was not started yet; never call it in a recovery.
  Result<void> SetParams(uint32_t id, uint64_t size_bytes, uint32_t max_io_bytes);
  Result<uint64_t> GetSizeBytes(uint32_t id);
  // Returns when the queue has fetched all its tags; the block device is there then.
  Result<void> Start(uint32_t id);
  // Ends all requests and takes the block device away; the queue's tags are aborted. REQUIRES that
  // the loop has run a task since the last use of the block device: before Linux 6.16 the driver's
  // cancelling races with a commit that is still being submitted, and the loser is the kernel.
  Result<void> Stop(uint32_t id);
  // REQUIRES that the queue has let go of the character device.
  Result<void> Delete(uint32_t id);
  Result<UblkDeviceInfo> Info(uint32_t id);
  // ENOTSUP before Linux 6.16.
  Result<void> UpdateSize(uint32_t id, uint64_t size_bytes);

  // Recovery: StartRecovery, open the character device, fetch on the loop, EndRecovery.
  // Waits until the former server is gone: EBUSY at the deadline. ENODEV: its server died before it
  // had started the device, so there is nothing to recover. Before Linux 6.16 it also waits until
  // the driver has surely finished with the former server's commands (10 ms).
  // `settled`: the former server made sure of that (ublk_settle.h), so it is not waited for.
  Result<void> StartRecovery(uint32_t id, bool settled = false);
  Result<void> EndRecovery(uint32_t id);
  // Aborts the idle tags so that a living server can leave in order. ENOTSUP before Linux 6.16.
  Result<void> Quiesce(uint32_t id, uint32_t timeout_ms);

 private:
  struct State;
  struct Call;
  explicit UblkControl(std::unique_ptr<State> state);
  // The command's result or a negative errno. -ETIMEDOUT: no answer in time, and `call` is null.
  int Execute(std::unique_ptr<Call>& call);
  int Await(const Call& call);
  int Command(uint32_t op, uint32_t id, uint64_t data);

  std::unique_ptr<State> state_;
};

}  // namespace weir
