// Header and tables of a segment as bytes; segment.h has the public half (DecodeSegmentIndex).
#pragma once

#include <cstddef>
#include <span>

#include "engine/segment/segment.h"

namespace weir {

// Bytes of header and tables together.
[[nodiscard]] size_t SegmentIndexBytes(size_t frames, size_t extents) noexcept;

// Writes header and tables; `out` is exactly SegmentIndexBytes().
void EncodeSegmentIndex(const SegmentIndex& index, std::span<std::byte> out);

// A segment says at most one thing about a block.
[[nodiscard]] bool ExtentsOverlap(std::span<const SegmentExtent> extents);

}  // namespace weir
