// What the index file says about one slot of the data file: 256 bytes, so that a record lies in one
// device block and is rewritten alone.
//
// Layout, little-endian: 0 u32 magic "WCCR"; 4 u32 version; 8 segment id; 40 u32 offset of the
// frame; 44 u32 slot; 48 u32 valid blocks; 52 u32 blocks of the frame; 56 u32 checksums of the 32
// blocks; 184 zeroes; 252 u32 CRC32C of bytes 0 to 251. All zeroes: the slot is free.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/types.h"
#include "engine/cache/clean_cache.h"

namespace weir {

inline constexpr uint32_t kSlotRecordBytes = 256;

struct SlotRecord {
  FrameKey key;
  uint32_t valid = 0;
  uint32_t frame_blocks = 0;
  std::array<uint32_t, kFrameBlocksMax> checksums{};
};

using SlotRecordBytes = std::array<std::byte, kSlotRecordBytes>;

[[nodiscard]] SlotRecordBytes EncodeSlotRecord(uint32_t slot, const SlotRecord& record) noexcept;
// False when the bytes are not the record of a filled slot with this number.
[[nodiscard]] bool DecodeSlotRecord(uint32_t slot,
                                    std::span<const std::byte, kSlotRecordBytes> bytes,
                                    SlotRecord* record) noexcept;

}  // namespace weir
