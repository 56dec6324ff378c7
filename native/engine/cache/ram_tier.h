// The RAM half of the clean cache: an arena of single blocks, all memory of which is set aside when
// it is made, so that the limit holds at every moment and no read or insert allocates.
//
// Thread: any. Copies are made without the lock, from and to entries that are pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/base/types.h"
#include "engine/cache/frame_index.h"

namespace weir {

class RamTier {
 public:
  // Uses at most `bytes`, its index included. With less than a frame's worth it holds nothing.
  explicit RamTier(uint64_t bytes);
  ~RamTier();
  RamTier(const RamTier&) = delete;
  RamTier& operator=(const RamTier&) = delete;

  enum class Need { kAll, kAny };
  struct ReadResult {
    uint32_t blocks = 0;      // what was copied
    bool became_hot = false;  // the frame was read again for the first time in a while
  };
  // Copies those of the `wanted` blocks that it has, or nothing if it needs all and has not; block
  // b goes to out + (b - first) blocks.
  [[nodiscard]] ReadResult Read(const FrameKey& key, uint32_t wanted, Need need, uint32_t first,
                                std::byte* out);
  // Inserts `blocks` of a frame; block b comes from data + (b - first) blocks.
  void Insert(const FrameKey& key, uint32_t frame_blocks, uint32_t blocks, uint32_t first,
              const std::byte* data);
  // Blocks held of the frame, and its size; 0 when it is not there.
  [[nodiscard]] uint32_t Holds(const FrameKey& key, uint32_t* frame_blocks) const;

  [[nodiscard]] uint64_t held_bytes() const;  // data and index

 private:
  static uint32_t ArenaBlocks(uint64_t bytes) noexcept;
  [[nodiscard]] std::byte* BlockAt(uint32_t place) const noexcept {
    return arena_ + size_t{place} * kBlockBytes;
  }
  // All four below: under the lock.
  [[nodiscard]] uint32_t Reserve(const FrameKey& key, uint32_t frame_blocks, uint32_t* blocks);
  [[nodiscard]] bool MakeRoom(uint32_t blocks, bool entry_too);
  void Release(uint32_t id);

  const uint32_t arena_blocks_;
  std::byte* arena_ = nullptr;  // mapped; pages appear when first used
  mutable std::mutex mutex_;
  std::vector<uint32_t> free_places_;
  FrameIndex index_;
};

}  // namespace weir
