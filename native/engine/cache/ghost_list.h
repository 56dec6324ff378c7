// Remembers which frames were evicted lately, without their data: one that comes back soon is worth
// more than a new one. Fixed memory; a collision only makes the cache guess wrong.
//
// Thread: its owner's lock.
#pragma once

#include <cstdint>
#include <vector>

namespace weir {

class GhostList {
 public:
  // Remembers about the last `capacity` hashes.
  explicit GhostList(uint32_t capacity);
  static uint64_t MemoryBytes(uint32_t capacity) noexcept;

  void Remember(uint64_t hash) noexcept;
  // True if the hash was remembered; it is forgotten by that.
  bool Recall(uint64_t hash) noexcept;

 private:
  static constexpr uint32_t kWays = 4;

  struct Ghost {
    uint32_t fingerprint = 0;
    uint32_t stamp = 0;  // value of clock_ when remembered; 0: empty
  };

  [[nodiscard]] Ghost* BucketOf(uint64_t hash) noexcept;
  [[nodiscard]] bool Alive(const Ghost& ghost) const noexcept;

  uint32_t capacity_;
  uint32_t clock_ = 0;
  std::vector<Ghost> ghosts_;  // a power of two of buckets of kWays
};

}  // namespace weir
