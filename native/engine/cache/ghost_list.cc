// A four-way table whose entries expire by count: an entry is alive while fewer than `capacity`
// others were remembered after it.
#include "engine/cache/ghost_list.h"

#include <algorithm>
#include <bit>

namespace weir {
namespace {

// Twice the places needed, so that few live entries are pushed out of a full bucket.
uint32_t Places(uint32_t capacity) noexcept { return std::bit_ceil(std::max(capacity, 4U)) * 2; }

uint32_t FingerprintOf(uint64_t hash) noexcept { return static_cast<uint32_t>(hash >> 32); }

}  // namespace

GhostList::GhostList(uint32_t capacity) : capacity_(capacity), ghosts_(Places(capacity)) {}

uint64_t GhostList::MemoryBytes(uint32_t capacity) noexcept {
  return uint64_t{Places(capacity)} * sizeof(Ghost);
}

void GhostList::Remember(uint64_t hash) noexcept {
  if (++clock_ == 0) clock_ = 1;
  Ghost* bucket = BucketOf(hash);
  Ghost* oldest = std::min_element(bucket, bucket + kWays, [this](const Ghost& a, const Ghost& b) {
    if (a.stamp == 0 || b.stamp == 0) return a.stamp < b.stamp;
    return clock_ - a.stamp > clock_ - b.stamp;
  });
  *oldest = {FingerprintOf(hash), clock_};
}

bool GhostList::Recall(uint64_t hash) noexcept {
  Ghost* bucket = BucketOf(hash);
  for (Ghost* ghost = bucket; ghost != bucket + kWays; ++ghost) {
    if (ghost->fingerprint != FingerprintOf(hash) || !Alive(*ghost)) continue;
    *ghost = {};
    return true;
  }
  return false;
}

GhostList::Ghost* GhostList::BucketOf(uint64_t hash) noexcept {
  const size_t buckets = ghosts_.size() / kWays;
  return &ghosts_[(hash & (buckets - 1)) * kWays];
}

bool GhostList::Alive(const Ghost& ghost) const noexcept {
  return ghost.stamp != 0 && clock_ - ghost.stamp < capacity_;
}

}  // namespace weir
