// Lays out one segment: blocks fill frames of 32 in the order they come, zero blocks become extents
// without data, and a frame is compressed as soon as it is full.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "engine/base/check.h"
#include "engine/segment/frame_codec.h"
#include "engine/segment/segment.h"
#include "engine/segment/segment_index.h"

namespace weir {
namespace {

bool IsZeroBlock(const std::byte* block) noexcept {
  static constexpr std::array<std::byte, kBlockBytes> kZeroes{};
  // The first word tells for nearly every block that is not zero.
  uint64_t word;
  std::memcpy(&word, block, sizeof(word));
  return word == 0 && std::memcmp(block, kZeroes.data(), kBlockBytes) == 0;
}

}  // namespace

SegmentBuilder::SegmentBuilder(int zstd_level)
    : encoder_(std::make_unique<FrameEncoder>(zstd_level)) {
  raw_.reserve(kFrameBytesMax);
}

SegmentBuilder::~SegmentBuilder() = default;

bool SegmentBuilder::HasRoom(uint32_t blocks) const noexcept {
  const uint64_t extents = extents_.size() + std::max<uint64_t>(blocks, 1);
  const uint64_t open = raw_.size() / kBlockBytes + blocks;
  const uint64_t frames = frames_.size() + (open + kFrameBlocksMax - 1) / kFrameBlocksMax;
  return extents <= kSegmentExtentsMax && frames <= kSegmentFramesMax;
}

void SegmentBuilder::AddData(uint64_t start_block, uint32_t blocks, const std::byte* data) {
  WEIR_CHECK(blocks > 0);
  uint32_t done = 0;
  while (done < blocks) {
    const bool zero = IsZeroBlock(data + size_t{done} * kBlockBytes);
    uint32_t run = 1;
    while (done + run < blocks && IsZeroBlock(data + size_t{done + run} * kBlockBytes) == zero) {
      ++run;
    }
    if (zero) {
      AddZeroes(start_block + done, run);
    } else {
      AppendRun(start_block + done, run, data + size_t{done} * kBlockBytes);
    }
    done += run;
  }
}

void SegmentBuilder::AddZeroes(uint64_t start_block, uint32_t blocks) {
  WEIR_CHECK(blocks > 0 && start_block + blocks <= kVolumeBlocksMax);
  if (!extents_.empty()) {
    SegmentExtent& last = extents_.back();
    if (last.zero && last.start_block + last.block_count == start_block &&
        blocks <= std::numeric_limits<uint32_t>::max() - last.block_count) {
      last.block_count += blocks;
      return;
    }
  }
  extents_.push_back({.start_block = start_block, .block_count = blocks, .zero = true});
}

void SegmentBuilder::AppendRun(uint64_t start_block, uint32_t blocks, const std::byte* data) {
  WEIR_CHECK(start_block + blocks <= kVolumeBlocksMax);
  while (blocks > 0) {
    const auto filled = static_cast<uint32_t>(raw_.size() / kBlockBytes);
    const uint32_t take = std::min(blocks, kFrameBlocksMax - filled);
    const size_t bytes = size_t{take} * kBlockBytes;
    raw_.insert(raw_.end(), data, data + bytes);
    raw_bytes_ += bytes;
    SegmentExtent* last = extents_.empty() ? nullptr : &extents_.back();
    // A data extent of the open frame that comes last ends where the frame is filled to.
    if (last != nullptr && !last->zero && last->frame == frames_.size() &&
        last->start_block + last->block_count == start_block) {
      last->block_count += take;
    } else {
      extents_.push_back({.start_block = start_block,
                          .block_count = take,
                          .frame = static_cast<uint16_t>(frames_.size()),
                          .block_in_frame = static_cast<uint8_t>(filled)});
    }
    if (filled + take == kFrameBlocksMax) CloseFrame();
    start_block += take;
    blocks -= take;
    data += bytes;
  }
}

void SegmentBuilder::CloseFrame() {
  const size_t offset = body_.size();
  encoder_->Append(raw_, &body_);
  frames_.push_back({.offset = static_cast<uint32_t>(offset),
                     .length = static_cast<uint32_t>(body_.size() - offset),
                     .blocks = static_cast<uint16_t>(raw_.size() / kBlockBytes)});
  raw_.clear();
}

SegmentBuilder::Built SegmentBuilder::Finish(const SegmentHeader& header) {
  if (!raw_.empty()) CloseFrame();
  // An overlap would make the object undecodable, and with it data that is only here.
  WEIR_CHECK(!ExtentsOverlap(extents_));
  Built built;
  built.index.header = header;
  built.index.frames = std::exchange(frames_, {});
  built.index.extents = std::exchange(extents_, {});
  const size_t index_bytes =
      SegmentIndexBytes(built.index.frames.size(), built.index.extents.size());
  built.bytes.reserve(index_bytes + body_.size());
  built.bytes.resize(index_bytes);
  built.bytes.insert(built.bytes.end(), body_.begin(), body_.end());
  const std::span<std::byte> object(built.bytes);
  for (SegmentFrame& frame : built.index.frames) {
    frame.offset += static_cast<uint32_t>(index_bytes);
    SealFrame(header.id, frame.offset, object.subspan(frame.offset, frame.length));
  }
  EncodeSegmentIndex(built.index, object.first(index_bytes));
  // A listing tells a SEAL by its size: exactly one header.
  if (built.bytes.size() == kSegmentHeaderBytes) built.bytes.resize(kSegmentHeaderBytes + 8);
  body_.clear();
  raw_bytes_ = 0;
  return built;
}

}  // namespace weir
