// S3-FIFO (Yang et al., SOSP '23): two FIFO queues and a list of ghosts, with lazy promotion.
#include "engine/cache/frame_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/base/check.h"

namespace weir {
namespace {

constexpr uint32_t kNone = FrameEntry::kNone;
constexpr uint8_t kFrequencyMax = 3;
// The small queue gives way when it holds a tenth of the frames.
constexpr uint32_t kSmallShare = 10;
// Bounds the work under the lock: after this many second chances the next unpinned frame goes.
constexpr uint32_t kChancesMax = 256;
constexpr uint32_t kPinnedMax = 64;

uint32_t Buckets(uint32_t capacity) noexcept { return std::bit_ceil(std::max(capacity, 4U)); }

uint64_t Hash(const FrameKey& key) noexcept {
  uint64_t words[5];
  std::memcpy(words, key.segment.volume.bytes.data(), 16);
  words[2] = key.segment.epoch;
  words[3] = key.segment.seq;
  words[4] = key.offset;
  uint64_t hash = 0;
  for (const uint64_t word : words) {
    hash = (std::rotl(hash, 23) ^ word) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

FrameIndex::FrameIndex(uint32_t capacity)
    : capacity_(capacity),
      used_(capacity),
      entries_(std::make_unique<FrameEntry[]>(capacity)),
      buckets_(Buckets(capacity), kNone),
      ghosts_(capacity) {}

uint64_t FrameIndex::MemoryBytes(uint32_t capacity) noexcept {
  return uint64_t{capacity} * sizeof(FrameEntry) + uint64_t{Buckets(capacity)} * sizeof(uint32_t) +
         GhostList::MemoryBytes(capacity);
}

uint32_t FrameIndex::Find(const FrameKey& key) const noexcept {
  uint32_t id = buckets_[Hash(key) & (buckets_.size() - 1)];
  while (id != kNone && entries_[id].key != key) id = entries_[id].chain;
  return id;
}

uint32_t FrameIndex::Add(const FrameKey& key, uint32_t frame_blocks) noexcept {
  WEIR_CHECK(free_ != kNone);
  const uint32_t id = free_;
  free_ = entries_[id].chain;
  ++used_;
  Enter(id, key, frame_blocks, ghosts_.Recall(Hash(key)));
  return id;
}

void FrameIndex::Restore(uint32_t id, const FrameKey& key, uint32_t frame_blocks) noexcept {
  Enter(id, key, frame_blocks, true);
}

bool FrameIndex::Touch(uint32_t id, uint32_t blocks) noexcept {
  FrameEntry& entry = entries_[id];
  if ((entry.touched & blocks) == 0) {
    entry.touched |= blocks;
    return false;
  }
  entry.touched = blocks;
  if (entry.frequency < kFrequencyMax) ++entry.frequency;
  return entry.frequency == 1;
}

void FrameIndex::MakeHot(uint32_t id) noexcept {
  FrameEntry& entry = entries_[id];
  entry.frequency = std::max<uint8_t>(entry.frequency, 1);
}

uint32_t FrameIndex::TakeVictim() noexcept {
  uint32_t pinned = 0;
  for (uint32_t chances = 0; used_ > 0 && pinned < kPinnedMax; ++chances) {
    const bool from_small =
        main_.count == 0 || (small_.count > 0 && small_.count >= used_ / kSmallShare);
    const uint32_t id = from_small ? small_.oldest : main_.oldest;
    FrameEntry& entry = entries_[id];
    const bool is_pinned = entry.pins.load(std::memory_order_acquire) > 0;
    if (is_pinned) ++pinned;
    if (is_pinned || (entry.frequency > 0 && chances < kChancesMax)) {
      const bool promoted = from_small && entry.frequency > 0;
      if (!is_pinned && !promoted) --entry.frequency;
      if (promoted) entry.frequency = 0;
      Pull(id);
      Push(id, from_small && !promoted ? FrameEntry::Queue::kSmall : FrameEntry::Queue::kMain);
      continue;
    }
    if (from_small) ghosts_.Remember(Hash(entry.key));
    Pull(id);
    Unchain(id);
    return id;
  }
  return kNone;
}

void FrameIndex::Free(uint32_t id) noexcept {
  FrameEntry& entry = entries_[id];
  entry.queue = FrameEntry::Queue::kFree;
  entry.chain = free_;
  free_ = id;
  --used_;
}

uint32_t& FrameIndex::BucketOf(uint64_t hash) noexcept {
  return buckets_[hash & (buckets_.size() - 1)];
}

void FrameIndex::Enter(uint32_t id, const FrameKey& key, uint32_t frame_blocks,
                       bool to_main) noexcept {
  FrameEntry& entry = entries_[id];
  entry.key = key;
  entry.valid = entry.pending = entry.touched = 0;
  entry.frequency = 0;
  entry.frame_blocks = static_cast<uint8_t>(frame_blocks);
  uint32_t& bucket = BucketOf(Hash(key));
  entry.chain = bucket;
  bucket = id;
  Push(id, to_main ? FrameEntry::Queue::kMain : FrameEntry::Queue::kSmall);
}

void FrameIndex::Push(uint32_t id, FrameEntry::Queue name) noexcept {
  Queue& queue = QueueOf(name);
  FrameEntry& entry = entries_[id];
  entry.queue = name;
  entry.older = queue.newest;
  entry.newer = kNone;
  (queue.newest == kNone ? queue.oldest : entries_[queue.newest].newer) = id;
  queue.newest = id;
  ++queue.count;
}

void FrameIndex::Pull(uint32_t id) noexcept {
  FrameEntry& entry = entries_[id];
  Queue& queue = QueueOf(entry.queue);
  (entry.older == kNone ? queue.oldest : entries_[entry.older].newer) = entry.newer;
  (entry.newer == kNone ? queue.newest : entries_[entry.newer].older) = entry.older;
  --queue.count;
}

void FrameIndex::Unchain(uint32_t id) noexcept {
  uint32_t* link = &BucketOf(Hash(entries_[id].key));
  while (*link != id) link = &entries_[*link].chain;
  *link = entries_[id].chain;
}

}  // namespace weir
