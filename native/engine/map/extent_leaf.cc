// Splices with capacity that follows the size closely: grown by a quarter, shrunk past a half.
#include "engine/map/extent_leaf.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "engine/map/heap_bytes.h"

namespace weir {

static_assert(std::is_trivially_copyable_v<PackedExtent>, "moved as bytes below");

namespace {

constexpr uint32_t kFirstStep = 4;  // extents in a cache line

}  // namespace

ExtentLeaf::ExtentLeaf(ExtentLeaf&& other) noexcept { *this = std::move(other); }

ExtentLeaf& ExtentLeaf::operator=(ExtentLeaf&& other) noexcept {
  std::swap(extents_, other.extents_);
  std::swap(first_, other.first_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

ExtentLeaf::~ExtentLeaf() { std::free(extents_); }

// Guesses by proportion and widens from there: in a leaf of evenly spread extents that touches one
// or two cache lines where halving touches five, and memory is what a lookup in a large map waits
// for.
uint32_t ExtentLeaf::LowerBound(uint32_t block, uint32_t limit) const noexcept {
  uint32_t low = 0;       // extents before it end at or before `block`
  uint32_t high = size_;  // it and those behind it end behind `block`
  if (block > first_ && block < limit) {
    const uint32_t guess = (block - first_) * size_ / (limit - first_);
    if (extents_[guess].end() <= block) {
      low = guess + 1;
      for (uint32_t step = kFirstStep; low + step < high; step *= 2) {
        if (extents_[low + step].end() > block) {
          high = low + step;
        } else {
          low += step + 1;
        }
      }
    } else {
      high = guess;
      for (uint32_t step = kFirstStep; low + step < high; step *= 2) {
        if (extents_[high - step].end() <= block) {
          low = high - step + 1;
        } else {
          high -= step;
        }
      }
    }
  }
  const auto found = std::partition_point(
      extents_ + low, extents_ + high, [block](const PackedExtent& e) { return e.end() <= block; });
  return static_cast<uint32_t>(found - extents_);
}

void ExtentLeaf::Splice(uint32_t at, uint32_t removed, std::span<const PackedExtent> added) {
  const auto added_size = static_cast<uint32_t>(added.size());
  const uint32_t size = size_ - removed + added_size;
  WEIR_CHECK(at + removed <= size_ && size <= kMax);
  if (size > capacity_) Resize(std::min(kMax, size + size / 4));
  const uint32_t behind = size_ - at - removed;
  if (behind > 0 && removed != added_size) {
    std::memmove(extents_ + at + added_size, extents_ + at + removed,
                 behind * sizeof(PackedExtent));
  }
  std::copy(added.begin(), added.end(), extents_ + at);
  size_ = static_cast<uint16_t>(size);
  if (size > 0) first_ = static_cast<uint16_t>(extents_[0].start());
  if (capacity_ > size + size / 2 + 2) Resize(size + size / 8);
}

void ExtentLeaf::Resize(uint32_t capacity) {
  if (capacity == 0) {
    std::free(std::exchange(extents_, nullptr));
  } else {
    void* moved = std::realloc(extents_, capacity * sizeof(PackedExtent));
    WEIR_CHECK(moved != nullptr);
    extents_ = static_cast<PackedExtent*>(moved);
  }
  capacity_ = static_cast<uint16_t>(capacity);
}

uint64_t ExtentLeaf::memory_bytes() const noexcept {
  return HeapBytes(capacity_ * sizeof(PackedExtent));
}

}  // namespace weir
