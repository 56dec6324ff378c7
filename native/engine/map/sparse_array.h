// An array indexed by chunk number in which most places are empty: pages of 64 (4 GiB of address
// space each) that exist only where something lies. A 10 TiB volume costs 20 KiB before its first
// extent.
//
// T is empty when default-constructed and says so with `explicit operator bool`.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/map/heap_bytes.h"

namespace weir {

template <typename T>
class SparseArray {
 public:
  // The item, or nullptr where no page is; the item itself may be empty.
  [[nodiscard]] T* Find(uint32_t index) noexcept {
    const uint32_t page = index / kPageItems;
    if (page >= pages_.size() || pages_[page] == nullptr) return nullptr;
    return &(*pages_[page])[index % kPageItems];
  }
  [[nodiscard]] const T* Find(uint32_t index) const noexcept {
    const uint32_t page = index / kPageItems;
    if (page >= pages_.size() || pages_[page] == nullptr) return nullptr;
    return &(*pages_[page])[index % kPageItems];
  }

  T& At(uint32_t index) {
    const uint32_t page = index / kPageItems;
    if (page >= pages_.size()) {
      pages_.reserve(page + 1);
      pages_.resize(page + 1);
    }
    if (pages_[page] == nullptr) {
      pages_[page] = std::make_unique<Page>();
      ++page_count_;
    }
    return (*pages_[page])[index % kPageItems];
  }

  // Empties the item, and frees its page if that was the last.
  void Remove(uint32_t index) {
    T* item = Find(index);
    if (item == nullptr) return;
    *item = T();
    std::unique_ptr<Page>& page = pages_[index / kPageItems];
    for (const T& other : *page) {
      if (other) return;
    }
    page.reset();
    --page_count_;
  }

  // The first index in [index, end) whose item is not empty; `end` if there is none.
  [[nodiscard]] uint32_t NextPresent(uint32_t index, uint32_t end) const noexcept {
    while (index < end) {
      const uint32_t page = index / kPageItems;
      if (page >= pages_.size()) return end;
      if (pages_[page] == nullptr) {
        index = (page + 1) * kPageItems;
        continue;
      }
      if ((*pages_[page])[index % kPageItems]) return index;
      ++index;
    }
    return end;
  }

  [[nodiscard]] uint64_t memory_bytes() const noexcept {
    return HeapBytes(pages_.capacity() * sizeof(pages_[0])) + page_count_ * HeapBytes(sizeof(Page));
  }

 private:
  static constexpr uint32_t kPageItems = 64;
  using Page = std::array<T, kPageItems>;

  std::vector<std::unique_ptr<Page>> pages_;
  uint64_t page_count_ = 0;
};

}  // namespace weir
