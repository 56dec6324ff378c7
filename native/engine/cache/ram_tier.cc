// Reserve under the lock, copy without it, publish under the lock.
#include "engine/cache/ram_tier.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/base/check.h"

namespace weir {
namespace {

constexpr uint32_t kNone = FrameEntry::kNone;

// Frames are mostly full; a pool for a quarter of that leaves room for frames held in part.
constexpr uint32_t EntriesFor(uint32_t arena_blocks) noexcept { return arena_blocks / 4; }

uint64_t IndexBytes(uint32_t arena_blocks) noexcept {
  if (arena_blocks == 0) return 0;
  return FrameIndex::MemoryBytes(EntriesFor(arena_blocks)) +
         uint64_t{arena_blocks} * sizeof(uint32_t);
}

}  // namespace

uint32_t RamTier::ArenaBlocks(uint64_t bytes) noexcept {
  constexpr uint64_t kMost = UINT32_MAX / 2;
  auto blocks = static_cast<uint32_t>(std::min(bytes / kBlockBytes, kMost));
  while (blocks > 0 && uint64_t{blocks} * kBlockBytes + IndexBytes(blocks) > bytes) {
    blocks -= blocks / 256 + 1;
  }
  return blocks < kFrameBlocksMax ? 0 : blocks;
}

RamTier::RamTier(uint64_t bytes)
    : arena_blocks_(ArenaBlocks(bytes)), index_(EntriesFor(arena_blocks_)) {
  for (uint32_t id = index_.capacity(); id-- > 0;) index_.Free(id);
  if (arena_blocks_ == 0) return;
  void* arena = mmap(nullptr, size_t{arena_blocks_} * kBlockBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEIR_CHECK(arena != MAP_FAILED);
  arena_ = static_cast<std::byte*>(arena);
  free_places_.reserve(arena_blocks_);
  for (uint32_t place = arena_blocks_; place-- > 0;) free_places_.push_back(place);
}

RamTier::~RamTier() {
  if (arena_ != nullptr) munmap(arena_, size_t{arena_blocks_} * kBlockBytes);
}

RamTier::ReadResult RamTier::Read(const FrameKey& key, uint32_t wanted, Need need, uint32_t first,
                                  std::byte* out) {
  ReadResult result;
  uint32_t id = kNone;
  {
    const std::lock_guard lock(mutex_);
    id = index_.Find(key);
    const uint32_t found = id == kNone ? 0 : index_.at(id).valid & wanted;
    if (found == 0 || (need == Need::kAll && found != wanted)) return result;
    result.blocks = found;
    result.became_hot = index_.Touch(id, found);
    index_.Pin(id);
  }
  const FrameEntry& entry = index_.at(id);
  ForEachBlock(result.blocks, [&](uint32_t block) {
    std::memcpy(out + size_t{block - first} * kBlockBytes, BlockAt(entry.words[block]),
                kBlockBytes);
  });
  index_.Unpin(id);
  return result;
}

void RamTier::Insert(const FrameKey& key, uint32_t frame_blocks, uint32_t blocks, uint32_t first,
                     const std::byte* data) {
  if (arena_blocks_ == 0) return;
  uint32_t id = kNone;
  {
    const std::lock_guard lock(mutex_);
    id = Reserve(key, frame_blocks, &blocks);
  }
  if (id == kNone) return;
  FrameEntry& entry = index_.at(id);
  ForEachBlock(blocks, [&](uint32_t block) {
    std::memcpy(BlockAt(entry.words[block]), data + size_t{block - first} * kBlockBytes,
                kBlockBytes);
  });
  {
    const std::lock_guard lock(mutex_);
    entry.pending &= ~blocks;
    entry.valid |= blocks;
  }
  index_.Unpin(id);
}

uint32_t RamTier::Holds(const FrameKey& key, uint32_t* frame_blocks) const {
  const std::lock_guard lock(mutex_);
  const uint32_t id = index_.Find(key);
  if (id == kNone) return 0;
  *frame_blocks = index_.at(id).frame_blocks;
  return index_.at(id).valid;
}

uint64_t RamTier::held_bytes() const {
  const std::lock_guard lock(mutex_);
  const uint64_t used = arena_blocks_ - free_places_.size();
  return used * kBlockBytes + IndexBytes(arena_blocks_);
}

// Pins the frame's entry with places for those of *blocks that nobody has or is writing; *blocks is
// cut to them. kNone: nothing to insert, or no room because everything is in use.
uint32_t RamTier::Reserve(const FrameKey& key, uint32_t frame_blocks, uint32_t* blocks) {
  uint32_t id = index_.Find(key);
  if (id != kNone) {
    *blocks &= ~(index_.at(id).valid | index_.at(id).pending);
    if (*blocks == 0) return kNone;
    index_.Pin(id);
  }
  if (!MakeRoom(static_cast<uint32_t>(std::popcount(*blocks)), id == kNone)) {
    if (id != kNone) index_.Unpin(id);
    return kNone;
  }
  if (id == kNone) {
    id = index_.Add(key, frame_blocks);
    index_.Pin(id);
  }
  FrameEntry& entry = index_.at(id);
  ForEachBlock(*blocks, [&](uint32_t block) {
    entry.words[block] = free_places_.back();
    free_places_.pop_back();
  });
  entry.pending |= *blocks;
  return id;
}

bool RamTier::MakeRoom(uint32_t blocks, bool entry_too) {
  while (free_places_.size() < blocks || (entry_too && index_.full())) {
    const uint32_t victim = index_.TakeVictim();
    if (victim == kNone) return false;
    Release(victim);
  }
  return true;
}

void RamTier::Release(uint32_t id) {
  ForEachBlock(index_.at(id).valid,
               [&](uint32_t block) { free_places_.push_back(index_.at(id).words[block]); });
  index_.Free(id);
}

}  // namespace weir
