// CRC32C (Castagnoli) as every format of Weir uses it: initial value and final XOR are all ones, so
// Crc32c("123456789") is 0xe3069283 and Extend(Crc32c(a), b) equals Crc32c(a + b).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir {

// Continues `crc` (0 for a fresh start) over `data`. Any thread; no allocation.
[[nodiscard]] uint32_t Crc32cExtend(uint32_t crc, std::span<const std::byte> data) noexcept;
[[nodiscard]] inline uint32_t Crc32c(std::span<const std::byte> data) noexcept {
  return Crc32cExtend(0, data);
}

// The two ways of computing it, of which Crc32cExtend() uses the one that is faster on this
// machine. Both count on the un-inverted register: ~Way(~crc, data).
[[nodiscard]] uint32_t Crc32cByIsal(uint32_t reg, std::span<const std::byte> data) noexcept;
[[nodiscard]] uint32_t Crc32cByTables(uint32_t reg, std::span<const std::byte> data) noexcept;

}  // namespace weir
