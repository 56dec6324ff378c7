#include "engine/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace weir {
namespace {

constexpr size_t kPieceBytes = 1U << 30;  // ISA-L counts in int

}  // namespace

uint32_t Crc32cExtend(uint32_t crc, std::span<const std::byte> data) noexcept {
  while (!data.empty()) {
    const size_t bytes = std::min(data.size(), kPieceBytes);
    // ISA-L takes a non-const pointer but only reads; it works on the un-inverted register.
    auto* piece = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(data.data()));
    crc = ~crc32_iscsi(piece, static_cast<int>(bytes), ~crc);
    data = data.subspan(bytes);
  }
  return crc;
}

}  // namespace weir
