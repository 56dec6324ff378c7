// Encodes and decodes a segment's header and tables. Decoding trusts nothing: every count is capped
// before memory is taken for it, every extent lies inside its frame, and no two overlap.
#include "engine/segment/segment_index.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/crc32c.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

constexpr std::array<char, 8> kMagic = {'W', 'E', 'I', 'R', 'S', 'E', 'G', '1'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kKindSegment = 1;
constexpr uint32_t kKindSeal = 2;
constexpr uint32_t kFrameRowBytes = 12;
constexpr uint32_t kExtentRowBytes = 16;
constexpr std::byte kExtentZeroes{0};
constexpr std::byte kExtentData{1};

// Header fields, bytes from its start.
constexpr size_t kVersionAt = 8;
constexpr size_t kKindAt = 12;
constexpr size_t kIdAt = 16;
constexpr size_t kNonceAt = 48;
constexpr size_t kJournalIdAt = 64;
constexpr size_t kJournalEndAt = 80;
constexpr size_t kVolumeSizeAt = 88;
constexpr size_t kFrameCountAt = 96;
constexpr size_t kExtentCountAt = 100;
constexpr size_t kCreatedAt = 104;
constexpr size_t kTableBytesAt = 112;
constexpr size_t kTableChecksumAt = 116;
constexpr size_t kFlagsAt = 120;
constexpr size_t kChecksumAt = 124;
static_assert(kChecksumAt + sizeof(uint32_t) == kSegmentHeaderBytes);
constexpr uint32_t kBuilderTableBytesMax =
    kSegmentFramesMax * kFrameRowBytes + kSegmentExtentsMax * kExtentRowBytes;
static_assert(kSegmentHeaderBytes + kBuilderTableBytesMax <= kSegmentTableBytesMax);
static_assert(kSegmentHeaderBytes + kBuilderTableBytesMax +
                  kSegmentFramesMax * (kFrameHeaderBytes + kFrameBytesMax) <=
              kSegmentBytesMax);

constexpr Error kBadHeader{EBADMSG, "a segment's header does not verify: the object is damaged"};
constexpr Error kBadTable{EBADMSG, "a segment's table does not verify: the object is damaged"};

using Bytes = std::span<const std::byte>;

SegmentHeader LoadHeader(const std::byte* at) {
  SegmentHeader header;
  header.id = wire::LoadSegmentId(at + kIdAt);
  header.nonce = wire::LoadUid(at + kNonceAt);
  header.journal_id = wire::LoadUid(at + kJournalIdAt);
  header.journal_end = wire::Load<uint64_t>(at + kJournalEndAt);
  header.volume_size_bytes = wire::Load<uint64_t>(at + kVolumeSizeAt);
  header.created_at_ms = wire::Load<uint64_t>(at + kCreatedAt);
  return header;
}

bool LoadFrame(const std::byte* row, uint64_t previous_end, SegmentFrame* frame) {
  frame->offset = wire::Load<uint32_t>(row);
  frame->length = wire::Load<uint32_t>(row + 4);
  frame->blocks = wire::Load<uint16_t>(row + 8);
  const uint64_t end = uint64_t{frame->offset} + frame->length;
  return wire::Load<uint16_t>(row + 10) == 0 && frame->blocks >= 1 &&
         frame->blocks <= kFrameBlocksMax && frame->length > kFrameHeaderBytes &&
         frame->length <= kFrameHeaderBytes + frame->blocks * kBlockBytes &&
         frame->offset >= previous_end && end <= kSegmentBytesMax;
}

bool LoadExtent(const std::byte* row, std::span<const SegmentFrame> frames, SegmentExtent* extent) {
  extent->start_block = wire::Load<uint64_t>(row);
  extent->block_count = wire::Load<uint32_t>(row + 8);
  extent->frame = wire::Load<uint16_t>(row + 12);
  extent->block_in_frame = wire::Load<uint8_t>(row + 14);
  extent->zero = row[15] == kExtentZeroes;
  if (extent->block_count == 0 || extent->start_block >= kVolumeBlocksMax ||
      extent->block_count > kVolumeBlocksMax - extent->start_block) {
    return false;
  }
  if (extent->zero) return extent->frame == 0 && extent->block_in_frame == 0;
  return row[15] == kExtentData && extent->frame < frames.size() &&
         uint64_t{extent->block_in_frame} + extent->block_count <= frames[extent->frame].blocks;
}

// Loads both tables, whose checksum has been verified.
Result<SegmentIndex> LoadTables(const SegmentHeader& header, Bytes table, uint32_t frame_count) {
  SegmentIndex index;
  index.header = header;
  index.frames.resize(frame_count);
  const size_t extent_bytes = table.size() - size_t{frame_count} * kFrameRowBytes;
  index.extents.resize(extent_bytes / kExtentRowBytes);
  const std::byte* row = table.data();
  uint64_t end = kSegmentHeaderBytes + table.size();
  for (SegmentFrame& frame : index.frames) {
    if (!LoadFrame(row, end, &frame)) return kBadTable;
    end = uint64_t{frame.offset} + frame.length;
    row += kFrameRowBytes;
  }
  for (SegmentExtent& extent : index.extents) {
    if (!LoadExtent(row, index.frames, &extent)) return kBadTable;
    row += kExtentRowBytes;
  }
  if (ExtentsOverlap(index.extents)) return kBadTable;
  return index;
}

void StoreHeader(const SegmentIndex& index, uint32_t table_bytes, std::byte* at) {
  const SegmentHeader& header = index.header;
  std::memset(at, 0, kSegmentHeaderBytes);
  std::memcpy(at, kMagic.data(), kMagic.size());
  wire::Store<uint32_t>(at + kVersionAt, kVersion);
  wire::Store<uint32_t>(at + kKindAt, kKindSegment);
  wire::StoreSegmentId(at + kIdAt, header.id);
  wire::StoreUid(at + kNonceAt, header.nonce);
  wire::StoreUid(at + kJournalIdAt, header.journal_id);
  wire::Store<uint64_t>(at + kJournalEndAt, header.journal_end);
  wire::Store<uint64_t>(at + kVolumeSizeAt, header.volume_size_bytes);
  wire::Store<uint32_t>(at + kFrameCountAt, static_cast<uint32_t>(index.frames.size()));
  wire::Store<uint32_t>(at + kExtentCountAt, static_cast<uint32_t>(index.extents.size()));
  wire::Store<uint64_t>(at + kCreatedAt, header.created_at_ms);
  wire::Store<uint32_t>(at + kTableBytesAt, table_bytes);
  const Bytes table(at + kSegmentHeaderBytes, table_bytes);
  wire::Store<uint32_t>(at + kTableChecksumAt, Crc32c(table));
  wire::Store<uint32_t>(at + kChecksumAt, Crc32c(Bytes(at, kChecksumAt)));
}

// Verifies the header alone; success means kind 1, version 1 and consistent counts.
Result<void> CheckHeader(const std::byte* at) {
  if (std::memcmp(at, kMagic.data(), kMagic.size()) != 0 ||
      wire::Load<uint32_t>(at + kChecksumAt) != Crc32c(Bytes(at, kChecksumAt))) {
    return kBadHeader;
  }
  if (wire::Load<uint32_t>(at + kVersionAt) != kVersion ||
      wire::Load<uint32_t>(at + kFlagsAt) != 0) {
    return Error{EPROTO, "a segment has a newer format: upgrade the engine on this node"};
  }
  const uint32_t kind = wire::Load<uint32_t>(at + kKindAt);
  if (kind == kKindSeal) return Error{ENOTSUP, "the object is the SEAL of an epoch, not a segment"};
  const uint64_t frames = wire::Load<uint32_t>(at + kFrameCountAt);
  const uint64_t extents = wire::Load<uint32_t>(at + kExtentCountAt);
  const uint64_t table_bytes = wire::Load<uint32_t>(at + kTableBytesAt);
  if (kind != kKindSegment || table_bytes > kSegmentTableBytesMax ||
      frames * kFrameRowBytes + extents * kExtentRowBytes != table_bytes) {
    return kBadHeader;
  }
  return {};
}

}  // namespace

size_t SegmentIndexBytes(size_t frames, size_t extents) noexcept {
  return kSegmentHeaderBytes + frames * kFrameRowBytes + extents * kExtentRowBytes;
}

void EncodeSegmentIndex(const SegmentIndex& index, std::span<std::byte> out) {
  WEIR_CHECK(out.size() == SegmentIndexBytes(index.frames.size(), index.extents.size()));
  WEIR_CHECK(out.size() <= kSegmentHeaderBytes + kSegmentTableBytesMax);
  std::byte* row = out.data() + kSegmentHeaderBytes;
  for (const SegmentFrame& frame : index.frames) {
    wire::Store<uint32_t>(row, frame.offset);
    wire::Store<uint32_t>(row + 4, frame.length);
    wire::Store<uint16_t>(row + 8, frame.blocks);
    wire::Store<uint16_t>(row + 10, 0);
    row += kFrameRowBytes;
  }
  for (const SegmentExtent& extent : index.extents) {
    wire::Store<uint64_t>(row, extent.start_block);
    wire::Store<uint32_t>(row + 8, extent.block_count);
    wire::Store<uint16_t>(row + 12, extent.frame);
    wire::Store<uint8_t>(row + 14, extent.block_in_frame);
    row[15] = extent.zero ? kExtentZeroes : kExtentData;
    row += kExtentRowBytes;
  }
  StoreHeader(index, static_cast<uint32_t>(out.size() - kSegmentHeaderBytes), out.data());
}

bool ExtentsOverlap(std::span<const SegmentExtent> extents) {
  const auto end = [](const SegmentExtent& e) { return e.start_block + e.block_count; };
  bool ascending = true;
  for (size_t i = 1; i < extents.size() && ascending; ++i) {
    ascending = end(extents[i - 1]) <= extents[i].start_block;
  }
  if (ascending) return false;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  ranges.reserve(extents.size());
  for (const SegmentExtent& extent : extents) ranges.emplace_back(extent.start_block, end(extent));
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) return true;
  }
  return false;
}

Result<SegmentIndex> DecodeSegmentIndex(std::span<const std::byte> bytes) {
  if (bytes.size() < kSegmentHeaderBytes) {
    return Error{EMSGSIZE, "a segment's header is cut short: fetch more of the object"};
  }
  const std::byte* at = bytes.data();
  if (const Result<void> checked = CheckHeader(at); !checked.ok()) return checked.error();
  const uint32_t table_bytes = wire::Load<uint32_t>(at + kTableBytesAt);
  if (bytes.size() - kSegmentHeaderBytes < table_bytes) {
    return Error{EMSGSIZE, "a segment's table is cut short: fetch more of the object"};
  }
  const Bytes table = bytes.subspan(kSegmentHeaderBytes, table_bytes);
  if (Crc32c(table) != wire::Load<uint32_t>(at + kTableChecksumAt)) return kBadTable;
  return LoadTables(LoadHeader(at), table, wire::Load<uint32_t>(at + kFrameCountAt));
}

}  // namespace weir
