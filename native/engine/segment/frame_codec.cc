// Frames as bytes: header, checksum with identity, zstd or raw.
#include "engine/segment/frame_codec.h"

#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/crc32c.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

constexpr uint32_t kFrameMagic = 0x4d524657;  // "WFRM"
constexpr std::byte kCodecRaw{0};
constexpr std::byte kCodecZstd{1};

// Header fields, bytes from the start of the frame; what is not named here is zero.
constexpr size_t kCodecAt = 4;
constexpr size_t kBlocksAt = 5;
constexpr size_t kStoredBytesAt = 8;
constexpr size_t kChecksumAt = 28;
static_assert(kChecksumAt + sizeof(uint32_t) == kFrameHeaderBytes);

// A frame is kept compressed when that saves at least a tenth.
constexpr size_t CompressedBytesMax(size_t raw_bytes) noexcept {
  return raw_bytes - raw_bytes / 10;
}

uint32_t FrameChecksum(const SegmentId& id, uint32_t offset, std::span<const std::byte> frame) {
  std::array<std::byte, wire::kSegmentIdBytes + sizeof(uint32_t)> identity;
  wire::StoreSegmentId(identity.data(), id);
  wire::Store<uint32_t>(identity.data() + wire::kSegmentIdBytes, offset);
  uint32_t crc = Crc32c(identity);
  crc = Crc32cExtend(crc, frame.first(kChecksumAt));
  return Crc32cExtend(crc, frame.subspan(kFrameHeaderBytes));
}

bool ReservedBytesAreZero(const std::byte* header) noexcept {
  return wire::Load<uint16_t>(header + 6) == 0 && wire::Load<uint32_t>(header + 12) == 0 &&
         wire::Load<uint64_t>(header + 16) == 0 && wire::Load<uint32_t>(header + 24) == 0;
}

constexpr Error kBadFrame{EBADMSG,
                          "a frame does not verify: the object is damaged or not the one meant"};

}  // namespace

void FrameEncoder::FreeContext::operator()(ZSTD_CCtx_s* context) const noexcept {
  ZSTD_freeCCtx(context);
}

FrameEncoder::FrameEncoder(int zstd_level) : context_(ZSTD_createCCtx()) {
  WEIR_CHECK(context_ != nullptr);
  const size_t set = ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, zstd_level);
  WEIR_CHECK(!ZSTD_isError(set));
}

FrameEncoder::~FrameEncoder() = default;
FrameEncoder::FrameEncoder(FrameEncoder&&) noexcept = default;
FrameEncoder& FrameEncoder::operator=(FrameEncoder&&) noexcept = default;

void FrameEncoder::Append(std::span<const std::byte> raw, std::vector<std::byte>* out) {
  WEIR_CHECK(!raw.empty() && raw.size() <= kFrameBytesMax && raw.size() % kBlockBytes == 0);
  const size_t start = out->size();
  const size_t limit = CompressedBytesMax(raw.size());
  out->resize(start + kFrameHeaderBytes + limit);
  // zstd gives up by itself when the result would not fit `limit`.
  const size_t packed = ZSTD_compress2(context_.get(), out->data() + start + kFrameHeaderBytes,
                                       limit, raw.data(), raw.size());
  const bool compressed = !ZSTD_isError(packed);
  const size_t stored = compressed ? packed : raw.size();
  out->resize(start + kFrameHeaderBytes + stored);
  std::byte* header = out->data() + start;
  if (!compressed) std::memcpy(header + kFrameHeaderBytes, raw.data(), raw.size());
  std::memset(header, 0, kFrameHeaderBytes);
  wire::Store<uint32_t>(header, kFrameMagic);
  header[kCodecAt] = compressed ? kCodecZstd : kCodecRaw;
  header[kBlocksAt] = static_cast<std::byte>(raw.size() / kBlockBytes);
  wire::Store<uint32_t>(header + kStoredBytesAt, static_cast<uint32_t>(stored));
}

void SealFrame(const SegmentId& id, uint32_t offset, std::span<std::byte> frame) {
  WEIR_CHECK(frame.size() > kFrameHeaderBytes);
  wire::Store<uint32_t>(frame.data() + kChecksumAt, FrameChecksum(id, offset, frame));
}

void FrameDecoder::FreeContext::operator()(ZSTD_DCtx_s* context) const noexcept {
  ZSTD_freeDCtx(context);
}

FrameDecoder::FrameDecoder() : context_(ZSTD_createDCtx()) { WEIR_CHECK(context_ != nullptr); }
FrameDecoder::~FrameDecoder() = default;
FrameDecoder::FrameDecoder(FrameDecoder&&) noexcept = default;
FrameDecoder& FrameDecoder::operator=(FrameDecoder&&) noexcept = default;

Result<void> FrameDecoder::Decode(const SegmentId& id, uint32_t offset, uint16_t blocks,
                                  std::span<const std::byte> bytes, std::span<std::byte> out) {
  WEIR_CHECK(out.size() == static_cast<size_t>(blocks) * kBlockBytes);
  if (bytes.size() <= kFrameHeaderBytes) return kBadFrame;
  const std::byte* header = bytes.data();
  const std::span<const std::byte> stored = bytes.subspan(kFrameHeaderBytes);
  if (wire::Load<uint32_t>(header) != kFrameMagic || !ReservedBytesAreZero(header) ||
      std::to_integer<uint32_t>(header[kBlocksAt]) != blocks ||
      wire::Load<uint32_t>(header + kStoredBytesAt) != stored.size() ||
      wire::Load<uint32_t>(header + kChecksumAt) != FrameChecksum(id, offset, bytes)) {
    return kBadFrame;
  }
  if (header[kCodecAt] == kCodecRaw) {
    if (stored.size() != out.size()) return kBadFrame;
    std::memcpy(out.data(), stored.data(), stored.size());
    return {};
  }
  if (header[kCodecAt] != kCodecZstd) return kBadFrame;
  const size_t written =
      ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(written) || written != out.size()) return kBadFrame;
  return {};
}

Result<void> DecodeFrame(const SegmentId& id, uint32_t offset, uint16_t blocks,
                         std::span<const std::byte> bytes, std::span<std::byte> out) {
  FrameDecoder decoder;
  return decoder.Decode(id, offset, blocks, bytes, out);
}

}  // namespace weir
