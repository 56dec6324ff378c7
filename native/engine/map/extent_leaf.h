// Up to 128 packed extents in ascending order, in an array that is never much larger than needed:
// the slack of a doubling vector alone would break the map's bar of 24 bytes per extent.
#pragma once

#include <cstdint>
#include <span>

#include "engine/map/packed_extent.h"

namespace weir {

class ExtentLeaf {
 public:
  static constexpr uint32_t kMax = 128;

  ExtentLeaf() = default;
  ExtentLeaf(ExtentLeaf&& other) noexcept;
  ExtentLeaf& operator=(ExtentLeaf&& other) noexcept;
  ~ExtentLeaf();

  [[nodiscard]] uint32_t size() const noexcept { return size_; }
  // Start of the first extent; kept here so that a search over leaves does not touch their arrays.
  [[nodiscard]] uint32_t first() const noexcept { return first_; }
  [[nodiscard]] const PackedExtent& operator[](uint32_t at) const noexcept { return extents_[at]; }
  [[nodiscard]] std::span<const PackedExtent> extents() const noexcept { return {extents_, size_}; }

  // Index of the first extent that ends behind `block`; size() if there is none. `limit`: where the
  // next leaf begins.
  [[nodiscard]] uint32_t LowerBound(uint32_t block, uint32_t limit) const noexcept;
  // Exchanges one extent for another that begins at the same block.
  void Set(uint32_t at, const PackedExtent& extent) noexcept { extents_[at] = extent; }
  // Replaces `removed` extents from `at` on by `added`. The result has at most kMax.
  void Splice(uint32_t at, uint32_t removed, std::span<const PackedExtent> added);

  [[nodiscard]] uint64_t memory_bytes() const noexcept;

 private:
  void Resize(uint32_t capacity);

  PackedExtent* extents_ = nullptr;  // owned
  uint16_t first_ = 0;
  uint16_t size_ = 0;
  uint16_t capacity_ = 0;
};

static_assert(sizeof(ExtentLeaf) == 16);

}  // namespace weir
