// One frame as bytes: 32-byte header {magic, codec, blocks, stored size, checksum}, then the stored
// bytes. The checksum covers the frame's identity too, so a frame that is read from the wrong
// object or the wrong offset never verifies (I8).
//
// Thread: an encoder or decoder is used by one thread at a time; each owns a zstd context, whose
//   making costs more than a frame, so keep one per thread or per batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/types.h"
#include "engine/segment/segment.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace weir {

class FrameEncoder {
 public:
  explicit FrameEncoder(int zstd_level);
  ~FrameEncoder();
  FrameEncoder(FrameEncoder&&) noexcept;
  FrameEncoder& operator=(FrameEncoder&&) noexcept;

  // Appends header and stored bytes to `out`; the header's checksum waits for SealFrame(). Raw when
  // compression saves less than 10 %. `raw` is 1 to kFrameBlocksMax whole blocks. No probe of a
  // sample goes first: zstd itself skips through random data at more than 10 GB/s.
  void Append(std::span<const std::byte> raw, std::vector<std::byte>* out);

 private:
  struct FreeContext {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };

  std::unique_ptr<ZSTD_CCtx_s, FreeContext> context_;
};

// Writes the checksum of a frame that Append() made and that now has its identity: it will lie at
// `offset` of object `id`. `frame` is header and stored bytes.
void SealFrame(const SegmentId& id, uint32_t offset, std::span<std::byte> frame);

class FrameDecoder {
 public:
  FrameDecoder();
  ~FrameDecoder();
  FrameDecoder(FrameDecoder&&) noexcept;
  FrameDecoder& operator=(FrameDecoder&&) noexcept;

  // As DecodeFrame() of segment.h, with this decoder's context.
  Result<void> Decode(const SegmentId& id, uint32_t offset, uint16_t blocks,
                      std::span<const std::byte> bytes, std::span<std::byte> out);

 private:
  struct FreeContext {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, FreeContext> context_;
};

}  // namespace weir
