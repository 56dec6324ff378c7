// The words of the data path as types: block, frame, chunk, volume uid, segment, journal address.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace weir {

inline constexpr uint32_t kBlockBytes = 4096;    // the unit of the map and of dirtiness
inline constexpr uint32_t kFrameBlocksMax = 32;  // a frame is at most 128 KiB before compression
inline constexpr uint32_t kFrameBytesMax = kFrameBlocksMax * kBlockBytes;
inline constexpr uint32_t kChunkBlocks = 16384;           // a chunk is 64 MiB of address space
inline constexpr uint64_t kVolumeBlocksMax = 1ULL << 34;  // 64 TiB

struct Uid {
  std::array<std::byte, 16> bytes{};
  auto operator<=>(const Uid&) const = default;
};

// Names one immutable object `volumes/<volume>/log/<epoch>/<seq>`.
struct SegmentId {
  Uid volume;
  uint64_t epoch = 0;
  uint64_t seq = 0;
  auto operator<=>(const SegmentId&) const = default;
};

// Position of one block in a volume's journal: file number (never reused) and byte offset in that
// file. Comparing two addresses compares the order in which the blocks were appended.
struct JournalAddr {
  uint64_t value = 0;  // file << 32 | offset

  static constexpr JournalAddr Of(uint32_t file, uint32_t offset) noexcept {
    return JournalAddr{(static_cast<uint64_t>(file) << 32) | offset};
  }
  [[nodiscard]] constexpr uint32_t file() const noexcept {
    return static_cast<uint32_t>(value >> 32);
  }
  [[nodiscard]] constexpr uint32_t offset() const noexcept { return static_cast<uint32_t>(value); }
  auto operator<=>(const JournalAddr&) const = default;
};

}  // namespace weir
