// Checkpoint chunks as bytes: the map of 64 MiB of a volume (core/log/FORMAT.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/types.h"

namespace weir {

struct ChunkExtent {
  uint16_t start = 0;            // block in the chunk
  uint16_t count_minus_one = 0;  // up to 32 blocks
  uint16_t frame = 0;            // index into frames
  uint8_t block_in_frame = 0;
};

struct ChunkFrame {
  uint32_t segment = 0;  // index into segments
  uint32_t offset = 0;
  uint32_t length = 0;
  uint8_t blocks = 0;
};

// Self-contained copy of one chunk's map; holes and zeroes are simply absent. Frames and segments
// are each listed once. Extents ascend and do not overlap.
struct ChunkImage {
  uint32_t chunk = 0;
  std::vector<SegmentId> segments;
  std::vector<ChunkFrame> frames;
  std::vector<ChunkExtent> extents;
};

[[nodiscard]] std::vector<std::byte> EncodeChunk(const ChunkImage& image, int zstd_level);
// EBADMSG when anything does not verify; sizes are capped before allocation.
Result<ChunkImage> DecodeChunk(uint32_t chunk, std::span<const std::byte> bytes);

}  // namespace weir
