// Checkpoint chunks: a 16-byte header {magic, codec, raw size, checksum} and a body of three
// tables. The checksum covers the chunk's index, so a payload read from the wrong place never
// verifies.
#include "engine/segment/chunk_codec.h"

#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/crc32c.h"
#include "engine/segment/segment.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

constexpr uint32_t kChunkMagic = 0x4b484357;  // "WCHK"
constexpr std::byte kCodecRaw{0};
constexpr std::byte kCodecZstd{1};
constexpr size_t kHeaderBytes = 16;
constexpr size_t kCodecAt = 4;
constexpr size_t kRawBytesAt = 8;
constexpr size_t kChecksumAt = 12;

constexpr uint32_t kCountsBytes = 16;
constexpr uint32_t kSegmentRowBytes = wire::kSegmentIdBytes;
constexpr uint32_t kFrameRowBytes = 16;
constexpr uint32_t kExtentRowBytes = 8;
// A chunk cannot hold more rows of any kind than it has blocks.
constexpr uint32_t kRowsMax = kChunkBlocks;
constexpr uint32_t kRawBytesMax =
    kCountsBytes + kRowsMax * (kSegmentRowBytes + kFrameRowBytes + kExtentRowBytes);

constexpr Error kBadChunk{EBADMSG, "a checkpoint chunk does not verify: the checkpoint is damaged"};

using Bytes = std::span<const std::byte>;

uint32_t ChunkChecksum(uint32_t chunk, Bytes payload) {
  std::array<std::byte, sizeof(uint32_t)> identity;
  wire::Store<uint32_t>(identity.data(), chunk);
  const uint32_t crc = Crc32cExtend(Crc32c(identity), payload.first(kChecksumAt));
  return Crc32cExtend(crc, payload.subspan(kHeaderBytes));
}

std::vector<std::byte> EncodeBody(const ChunkImage& image) {
  std::vector<std::byte> body(kCountsBytes + image.segments.size() * kSegmentRowBytes +
                              image.frames.size() * kFrameRowBytes +
                              image.extents.size() * kExtentRowBytes);
  wire::Store<uint32_t>(body.data(), static_cast<uint32_t>(image.segments.size()));
  wire::Store<uint32_t>(body.data() + 4, static_cast<uint32_t>(image.frames.size()));
  wire::Store<uint32_t>(body.data() + 8, static_cast<uint32_t>(image.extents.size()));
  std::byte* row = body.data() + kCountsBytes;
  for (const SegmentId& id : image.segments) {
    wire::StoreSegmentId(row, id);
    row += kSegmentRowBytes;
  }
  for (const ChunkFrame& frame : image.frames) {
    wire::Store<uint32_t>(row, frame.segment);
    wire::Store<uint32_t>(row + 4, frame.offset);
    wire::Store<uint32_t>(row + 8, frame.length);
    wire::Store<uint32_t>(row + 12, frame.blocks);  // u8 blocks, then three zero bytes
    row += kFrameRowBytes;
  }
  for (const ChunkExtent& extent : image.extents) {
    wire::Store<uint16_t>(row, extent.start);
    wire::Store<uint16_t>(row + 2, extent.count_minus_one);
    wire::Store<uint16_t>(row + 4, extent.frame);
    wire::Store<uint16_t>(row + 6, extent.block_in_frame);  // u8, then a zero byte
    row += kExtentRowBytes;
  }
  return body;
}

bool LoadFrame(const std::byte* row, size_t segments, ChunkFrame* frame) {
  frame->segment = wire::Load<uint32_t>(row);
  frame->offset = wire::Load<uint32_t>(row + 4);
  frame->length = wire::Load<uint32_t>(row + 8);
  const auto blocks = wire::Load<uint32_t>(row + 12);
  if (blocks < 1 || blocks > kFrameBlocksMax || frame->segment >= segments) return false;
  frame->blocks = static_cast<uint8_t>(blocks);
  return frame->length > kFrameHeaderBytes &&
         frame->length <= kFrameHeaderBytes + blocks * kBlockBytes &&
         frame->offset <= kSegmentBytesMax - frame->length;
}

bool LoadExtent(const std::byte* row, std::span<const ChunkFrame> frames, uint32_t previous_end,
                ChunkExtent* extent) {
  extent->start = wire::Load<uint16_t>(row);
  extent->count_minus_one = wire::Load<uint16_t>(row + 2);
  extent->frame = wire::Load<uint16_t>(row + 4);
  const auto block = wire::Load<uint16_t>(row + 6);
  if (block >= kFrameBlocksMax || extent->frame >= frames.size()) return false;
  extent->block_in_frame = static_cast<uint8_t>(block);
  const uint32_t count = extent->count_minus_one + 1U;
  return extent->start >= previous_end && extent->start + count <= kChunkBlocks &&
         block + count <= frames[extent->frame].blocks;
}

Result<ChunkImage> DecodeBody(uint32_t chunk, Bytes body) {
  if (body.size() < kCountsBytes) return kBadChunk;
  const auto segments = wire::Load<uint32_t>(body.data());
  const auto frames = wire::Load<uint32_t>(body.data() + 4);
  const auto extents = wire::Load<uint32_t>(body.data() + 8);
  if (segments > kRowsMax || frames > kRowsMax || extents > kRowsMax ||
      wire::Load<uint32_t>(body.data() + 12) != 0 ||
      body.size() != kCountsBytes + segments * kSegmentRowBytes + frames * kFrameRowBytes +
                         extents * kExtentRowBytes) {
    return kBadChunk;
  }
  ChunkImage image;
  image.chunk = chunk;
  image.segments.resize(segments);
  image.frames.resize(frames);
  image.extents.resize(extents);
  const std::byte* row = body.data() + kCountsBytes;
  for (SegmentId& id : image.segments) {
    id = wire::LoadSegmentId(row);
    row += kSegmentRowBytes;
  }
  for (ChunkFrame& frame : image.frames) {
    if (!LoadFrame(row, segments, &frame)) return kBadChunk;
    row += kFrameRowBytes;
  }
  uint32_t end = 0;
  for (ChunkExtent& extent : image.extents) {
    if (!LoadExtent(row, image.frames, end, &extent)) return kBadChunk;
    end = extent.start + extent.count_minus_one + 1U;
    row += kExtentRowBytes;
  }
  return image;
}

}  // namespace

std::vector<std::byte> EncodeChunk(const ChunkImage& image, int zstd_level) {
  const std::vector<std::byte> body = EncodeBody(image);
  WEIR_CHECK(body.size() <= kRawBytesMax);
  std::vector<std::byte> payload(kHeaderBytes + body.size());
  // Kept raw unless the packed form is smaller; zstd gives up by itself when it is not.
  const size_t packed = ZSTD_compress(payload.data() + kHeaderBytes, body.size() - 1, body.data(),
                                      body.size(), zstd_level);
  const bool compressed = !ZSTD_isError(packed);
  if (compressed) {
    payload.resize(kHeaderBytes + packed);
  } else {
    std::memcpy(payload.data() + kHeaderBytes, body.data(), body.size());
  }
  std::memset(payload.data(), 0, kHeaderBytes);
  wire::Store<uint32_t>(payload.data(), kChunkMagic);
  payload[kCodecAt] = compressed ? kCodecZstd : kCodecRaw;
  wire::Store<uint32_t>(payload.data() + kRawBytesAt, static_cast<uint32_t>(body.size()));
  wire::Store<uint32_t>(payload.data() + kChecksumAt, ChunkChecksum(image.chunk, payload));
  return payload;
}

Result<ChunkImage> DecodeChunk(uint32_t chunk, std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return kBadChunk;
  const std::byte* header = bytes.data();
  const auto raw_bytes = wire::Load<uint32_t>(header + kRawBytesAt);
  const bool reserved_is_zero = header[5] == std::byte{0} && wire::Load<uint16_t>(header + 6) == 0;
  if (wire::Load<uint32_t>(header) != kChunkMagic || !reserved_is_zero ||
      raw_bytes > kRawBytesMax || bytes.size() - kHeaderBytes > raw_bytes ||
      wire::Load<uint32_t>(header + kChecksumAt) != ChunkChecksum(chunk, bytes)) {
    return kBadChunk;
  }
  const Bytes stored = bytes.subspan(kHeaderBytes);
  if (header[kCodecAt] == kCodecRaw) {
    if (stored.size() != raw_bytes) return kBadChunk;
    return DecodeBody(chunk, stored);
  }
  if (header[kCodecAt] != kCodecZstd) return kBadChunk;
  std::vector<std::byte> body(raw_bytes);
  const size_t written = ZSTD_decompress(body.data(), body.size(), stored.data(), stored.size());
  if (ZSTD_isError(written) || written != body.size()) return kBadChunk;
  return DecodeBody(chunk, body);
}

}  // namespace weir
