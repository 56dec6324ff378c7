// Packs, cuts and joins extents; also Extent's own cutting, which follows the same rule.
#include "engine/map/packed_extent.h"

namespace weir {
namespace {

constexpr uint32_t kFrameLengthMask = (1U << 18) - 1;
constexpr uint32_t kFrameBlockMask = (1U << 5) - 1;
constexpr uint32_t kFrameBlocksMask = (1U << 6) - 1;
constexpr uint32_t kStartMask = (1U << 14) - 1;
constexpr uint32_t kCountMask = (1U << 15) - 1;

}  // namespace

Extent Extent::Tail(uint64_t blocks) const noexcept {
  WEIR_CHECK(blocks < count);
  Extent tail = *this;
  tail.start += blocks;
  tail.count -= blocks;
  if (kind == PlaceKind::kJournal) tail.journal.value += blocks * kJournalBlockStride;
  if (kind == PlaceKind::kFrame) tail.frame.block = static_cast<uint8_t>(frame.block + blocks);
  return tail;
}

Extent Extent::Head(uint64_t blocks) const noexcept {
  WEIR_CHECK(blocks > 0 && blocks <= count);
  Extent head = *this;
  head.count = blocks;
  return head;
}

PackedExtent PackedExtent::Pack(const Extent& extent, uint64_t chunk_start) noexcept {
  PackedExtent packed;
  packed.start_ = static_cast<uint32_t>(extent.start - chunk_start) & kStartMask;
  packed.count_ = static_cast<uint32_t>(extent.count) & kCountMask;
  packed.kind_ = static_cast<uint32_t>(extent.kind) & 7U;
  if (extent.kind != PlaceKind::kFrame) {
    packed.set_address(extent.journal.value);
    return packed;
  }
  const FramePlace& frame = extent.frame;
  WEIR_CHECK(frame.frame_blocks <= kFrameBlocksMax && frame.length <= kFrameLengthMask &&
             frame.block + extent.count <= frame.frame_blocks);
  packed.place_low_ = frame.segment;
  packed.place_high_ = frame.offset;
  packed.frame_length_ = frame.length & kFrameLengthMask;
  packed.frame_block_ = frame.block & kFrameBlockMask;
  packed.frame_blocks_ = frame.frame_blocks & kFrameBlocksMask;
  return packed;
}

Extent PackedExtent::Unpack(uint64_t chunk_start) const noexcept {
  Extent extent;
  extent.start = chunk_start + start_;
  extent.count = count_;
  extent.kind = kind();
  if (kind() != PlaceKind::kFrame) {
    extent.journal.value = address();
    return extent;
  }
  extent.frame = {.segment = place_low_,
                  .offset = place_high_,
                  .length = frame_length_,
                  .block = static_cast<uint8_t>(frame_block_),
                  .frame_blocks = static_cast<uint8_t>(frame_blocks_)};
  return extent;
}

PackedExtent PackedExtent::Cut(uint32_t from, uint32_t to) const noexcept {
  PackedExtent part = *this;
  const uint32_t skipped = from - start_;
  part.start_ = from & kStartMask;
  part.count_ = (to - from) & kCountMask;
  if (kind() == PlaceKind::kJournal) {
    part.set_address(address() + uint64_t{skipped} * kJournalBlockStride);
  }
  if (kind() == PlaceKind::kFrame) part.frame_block_ = (frame_block_ + skipped) & kFrameBlockMask;
  return part;
}

bool PackedExtent::ContinuedBy(const PackedExtent& next) const noexcept {
  if (end() != next.start() || kind_ != next.kind_) return false;
  switch (kind()) {
    case PlaceKind::kZero:
      return address() == next.address();
    case PlaceKind::kJournal:
      return place_high_ == next.place_high_ &&
             address() + uint64_t{count_} * kJournalBlockStride == next.address();
    case PlaceKind::kFrame:
      return place_low_ == next.place_low_ && place_high_ == next.place_high_ &&
             frame_length_ == next.frame_length_ && frame_blocks_ == next.frame_blocks_ &&
             frame_block_ + count_ == next.frame_block_;
  }
  return false;
}

PackedExtent PackedExtent::JoinedWith(const PackedExtent& next) const noexcept {
  PackedExtent joined = *this;
  joined.count_ = (count_ + next.count_) & kCountMask;
  return joined;
}

}  // namespace weir
