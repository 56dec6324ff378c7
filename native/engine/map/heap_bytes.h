// What an allocation really costs, so that memory figures are those of the process and not of the
// types: glibc puts 8 bytes in front and rounds to 16, with 32 as the least.
#pragma once

#include <cstdint>

namespace weir {

[[nodiscard]] constexpr uint64_t HeapBytes(uint64_t requested) noexcept {
  if (requested == 0) return 0;
  const uint64_t rounded = (requested + 8 + 15) & ~uint64_t{15};
  return rounded < 32 ? 32 : rounded;
}

}  // namespace weir
