// The one queue of a ublk device on its volume's loop: fetches requests, hands them to the block
// device and commits their results.
//
// Thread: the loop thread; construction and destruction anywhere.
// Invariants: (1) a delivered request is in the device, committed, or left to the next server,
//   never two of them; (2) a result is the whole length or an error, never a short success; (3)
//   after Freeze() has called back nothing that this queue started can still change the volume
//   (I9).
// Ways to end: Freeze() and UblkControl::Quiesce() (6.16+): all tags are aborted, OnAllAborted.
//   Freeze(), stop and join the loop's thread, destroy the loop, destroy the queue (any kernel):
//   the device is QUIESCED and waits for the next server. UblkControl::Stop(): the device is going
//   away, all tags are aborted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/loop/loop.h"
#include "engine/ublk/ublk_channel.h"
#include "engine/volume/block_device.h"

namespace weir {

struct UblkQueueConfig {
  uint16_t depth = 128;
  uint32_t max_io_bytes = 512U << 10;
};

class UblkQueue final : public IoOwner {
 public:
  // `loop` and `device` must outlive the queue's last request.
  UblkQueue(Loop& loop, BlockDevice& device, std::unique_ptr<UblkChannel> channel,
            const UblkQueueConfig& config);
  ~UblkQueue();
  UblkQueue(const UblkQueue&) = delete;
  UblkQueue& operator=(const UblkQueue&) = delete;

  // Fetches all tags; START_DEV or END_USER_RECOVERY, which wait for that, may then return. This
  // thread becomes the queue's for good. `all_aborted` runs once, when no tag can get a request any
  // more: the device was stopped or quiesced, and the queue may be destroyed.
  void Begin(std::function<void()> all_aborted);
  // Before Begin(): requests that are delivered wait for Thaw().
  void Hold();
  // Starts no further request; `done` runs when those in the device were committed and the commits
  // are in the kernel. Requests that are delivered meanwhile stay for the next server.
  void Freeze(std::function<void()> done);
  // Takes a Hold() back, or a Freeze(), when its `done` has run and nothing else was done: serves
  // (on), beginning with what was left behind.
  void Thaw();
  // REQUIRES that the queue may be destroyed, and destroys what keeps the next server out. The rest
  // takes longer.
  void CloseChannel();

  [[nodiscard]] size_t in_device() const noexcept { return in_device_; }
  // Delivered after Freeze(), or given back by the device: the next server gets them again.
  [[nodiscard]] size_t left_behind() const noexcept { return left_behind_.size(); }
  // Why the first tag was aborted: ENODEV in every orderly end; 0 while none was.
  [[nodiscard]] int abort_error() const noexcept { return abort_error_; }

  void OnIoDone(IoRequest* request, int result) override;

 private:
  class Tag;
  struct TagRequest final : IoRequest {
    uint16_t tag = 0;
    std::byte* buffer = nullptr;
  };

  void OnTag(uint16_t tag, int result);
  void StartRequest(uint16_t tag);
  // 0, or the errno that refuses the request.
  [[nodiscard]] int Fill(TagRequest& request, const ublk::IoDescriptor& descriptor) const;
  void Commit(uint16_t tag, int32_t result);
  void MaybeFrozen();
  void NoteGone();

  Loop& loop_;
  BlockDevice& device_;
  const UblkQueueConfig config_;
  std::unique_ptr<UblkChannel> channel_;
  std::byte* buffers_ = nullptr;          // depth * max_io_bytes, touched only as far as used
  std::vector<std::byte*> free_buffers_;  // a stack: the warm one goes first
  std::vector<TagRequest> requests_;      // by tag
  std::vector<Tag> tags_;
  size_t in_device_ = 0;
  size_t aborted_ = 0;
  int abort_error_ = 0;
  std::vector<uint16_t> left_behind_;
  bool frozen_ = false;
  std::function<void()> all_aborted_;
  std::function<void()> frozen_done_;
};

}  // namespace weir
