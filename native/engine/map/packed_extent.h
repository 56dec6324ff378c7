// An extent within one chunk in 16 bytes. Starts and ends here count blocks from the chunk's start.
#pragma once

#include <cstdint>

#include "engine/base/check.h"
#include "engine/journal/journal.h"
#include "engine/map/extent_map.h"

namespace weir {

class PackedExtent {
 public:
  PackedExtent() = default;
  // `extent` lies inside the chunk whose first block is `chunk_start`.
  static PackedExtent Pack(const Extent& extent, uint64_t chunk_start) noexcept;

  [[nodiscard]] uint32_t start() const noexcept { return start_; }
  [[nodiscard]] uint32_t end() const noexcept { return start_ + count_; }
  [[nodiscard]] uint32_t count() const noexcept { return count_; }
  [[nodiscard]] Extent Unpack(uint64_t chunk_start) const noexcept;

  // The part in [from, to), which is not empty and lies inside.
  [[nodiscard]] PackedExtent Cut(uint32_t from, uint32_t to) const noexcept;
  // Whether `next` begins where this ends and its place goes on where this one's stops.
  [[nodiscard]] bool ContinuedBy(const PackedExtent& next) const noexcept;
  [[nodiscard]] PackedExtent JoinedWith(const PackedExtent& next) const noexcept;

 private:
  [[nodiscard]] PlaceKind kind() const noexcept { return static_cast<PlaceKind>(kind_); }
  [[nodiscard]] uint64_t address() const noexcept {
    return uint64_t{place_high_} << 32 | place_low_;
  }
  void set_address(uint64_t value) noexcept {
    place_low_ = static_cast<uint32_t>(value);
    place_high_ = static_cast<uint32_t>(value >> 32);
  }

  uint32_t start_ : 14 = 0;
  uint32_t count_ : 15 = 0;
  uint32_t kind_ : 3 = 0;
  // kJournal and kZero: the address, low and high half. kFrame: segment and offset.
  uint32_t place_low_ = 0;
  uint32_t place_high_ = 0;
  // kFrame only.
  uint32_t frame_length_ : 18 = 0;
  uint32_t frame_block_ : 5 = 0;
  uint32_t frame_blocks_ : 6 = 0;
};

static_assert(sizeof(PackedExtent) == 16);

}  // namespace weir
