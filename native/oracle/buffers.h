// One page-aligned buffer for each request slot, as O_DIRECT asks for.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

#include "engine/base/check.h"
#include "engine/base/types.h"

namespace weir::oracle {

class SlotBuffers {
 public:
  SlotBuffers(uint32_t slots, uint32_t blocks_each)
      : bytes_each_(size_t{blocks_each} * kBlockBytes),
        memory_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, slots * bytes_each_))) {
    WEIR_CHECK(memory_ != nullptr);
  }

  [[nodiscard]] std::byte* operator[](uint32_t slot) const noexcept {
    return memory_.get() + slot * bytes_each_;
  }
  [[nodiscard]] std::span<std::byte> Block(uint32_t slot, uint32_t block) const noexcept {
    return {(*this)[slot] + size_t{block} * kBlockBytes, kBlockBytes};
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  size_t bytes_each_;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace weir::oracle
