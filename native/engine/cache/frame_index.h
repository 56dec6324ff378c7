// Which frames a tier holds, and which one goes next: S3-FIFO over a fixed pool of entries. New
// frames pass through a small queue, and only those that are read again reach the main one; so a
// scan of any length flows through a tenth of the tier.
//
// A frame counts as read again when a block is read that was read before: reading a frame block by
// block, as a sequential scan does, is one read.
//
// Thread: the tier's lock guards everything but `pins`. An entry that is pinned keeps its place and
//   its valid blocks while the tier copies or does file I/O without the lock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/types.h"
#include "engine/cache/clean_cache.h"
#include "engine/cache/ghost_list.h"

namespace weir {

// Blocks [first, first + count) of a frame as a bit set.
[[nodiscard]] constexpr uint32_t BlockMask(uint32_t first, uint32_t count) noexcept {
  return static_cast<uint32_t>(((uint64_t{1} << count) - 1) << first);
}

// Calls `each` with every block number in the set, ascending.
template <typename Each>
void ForEachBlock(uint32_t blocks, const Each& each) {
  for (; blocks != 0; blocks &= blocks - 1) each(static_cast<uint32_t>(std::countr_zero(blocks)));
}

struct FrameEntry {
  static constexpr uint32_t kNone = UINT32_MAX;
  enum class Queue : uint8_t { kFree, kSmall, kMain };

  FrameKey key;
  uint32_t valid = 0;      // blocks that can be read
  uint32_t pending = 0;    // blocks that an insert is writing just now
  uint32_t touched = 0;    // blocks read since the last time one was read again
  uint32_t chain = kNone;  // next in the hash bucket, or next free entry
  uint32_t older = kNone;  // queue neighbours
  uint32_t newer = kNone;
  std::atomic<uint32_t> pins{0};
  Queue queue = Queue::kFree;
  uint8_t frequency = 0;
  uint8_t frame_blocks = 0;
  // What the tier needs per block: its place in the RAM arena, or the checksum of its bytes.
  std::array<uint32_t, kFrameBlocksMax> words{};
};

class FrameIndex {
 public:
  // A new index has all entries taken: each is given to Free() or Restore() once before any other
  // use.
  explicit FrameIndex(uint32_t capacity);
  // Heap bytes of an index, all of them taken at once.
  static uint64_t MemoryBytes(uint32_t capacity) noexcept;

  [[nodiscard]] uint32_t Find(const FrameKey& key) const noexcept;
  [[nodiscard]] FrameEntry& at(uint32_t id) noexcept { return entries_[id]; }
  [[nodiscard]] const FrameEntry& at(uint32_t id) const noexcept { return entries_[id]; }
  [[nodiscard]] bool full() const noexcept { return used_ == capacity_; }
  [[nodiscard]] uint32_t used() const noexcept { return used_; }
  [[nodiscard]] uint32_t capacity() const noexcept { return capacity_; }

  // Adds an absent frame; the index must not be full.
  uint32_t Add(const FrameKey& key, uint32_t frame_blocks) noexcept;
  // Adds a frame as it was before a restart: at entry `id`, and as one worth keeping.
  void Restore(uint32_t id, const FrameKey& key, uint32_t frame_blocks) noexcept;
  // True when the frame was not hot and now is.
  bool Touch(uint32_t id, uint32_t blocks) noexcept;
  void MakeHot(uint32_t id) noexcept;
  // Picks the next frame to go and takes it out of the index, its fields intact until Free(). kNone
  // when everything in reach is pinned.
  [[nodiscard]] uint32_t TakeVictim() noexcept;
  void Free(uint32_t id) noexcept;

  void Pin(uint32_t id) noexcept { entries_[id].pins.fetch_add(1, std::memory_order_relaxed); }
  // Needs no lock.
  void Unpin(uint32_t id) noexcept { entries_[id].pins.fetch_sub(1, std::memory_order_release); }

 private:
  struct Queue {
    uint32_t oldest = FrameEntry::kNone;
    uint32_t newest = FrameEntry::kNone;
    uint32_t count = 0;
  };

  [[nodiscard]] Queue& QueueOf(FrameEntry::Queue queue) noexcept {
    return queue == FrameEntry::Queue::kSmall ? small_ : main_;
  }
  [[nodiscard]] uint32_t& BucketOf(uint64_t hash) noexcept;
  void Enter(uint32_t id, const FrameKey& key, uint32_t frame_blocks, bool to_main) noexcept;
  void Push(uint32_t id, FrameEntry::Queue queue) noexcept;
  void Pull(uint32_t id) noexcept;
  void Unchain(uint32_t id) noexcept;

  uint32_t capacity_;
  uint32_t used_;
  uint32_t free_ = FrameEntry::kNone;
  Queue small_;
  Queue main_;
  std::unique_ptr<FrameEntry[]> entries_;
  std::vector<uint32_t> buckets_;  // a power of two
  GhostList ghosts_;
};

}  // namespace weir
