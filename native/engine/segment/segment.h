// Segments and frames as bytes. core/log/FORMAT.md is the specification; golden files are shared
// with the TypeScript codec. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/types.h"

namespace weir {

inline constexpr uint32_t kSegmentHeaderBytes = 128;
inline constexpr uint32_t kFrameHeaderBytes = 32;
// With its header a table fits one range GET of 128 KiB.
inline constexpr uint32_t kSegmentTableBytesMax = 120U << 10;
inline constexpr uint32_t kSegmentExtentsMax = 7000;
// As many full raw frames as fit kSegmentBytesMax.
inline constexpr uint32_t kSegmentFramesMax = 510;
// A larger object was not written by Weir.
inline constexpr uint32_t kSegmentBytesMax = 64U << 20;

struct SegmentHeader {
  SegmentId id;
  Uid nonce;  // of the writer's attempt; equal on read-back means "that was me"
  Uid journal_id;
  uint64_t journal_end = 0;  // all records <= this are in the log up to and including this segment
  uint64_t volume_size_bytes = 0;
  uint64_t created_at_ms = 0;
};

struct SegmentFrame {
  uint32_t offset = 0;  // from the start of the object to the frame header
  uint32_t length = 0;  // frame header included
  uint16_t blocks = 0;  // before compression
};

struct SegmentExtent {
  uint64_t start_block = 0;
  uint32_t block_count = 0;
  uint16_t frame = 0;  // index into frames; 0 for zeroes
  uint8_t block_in_frame = 0;
  bool zero = false;
};

// What a segment says without its data.
struct SegmentIndex {
  SegmentHeader header;
  std::vector<SegmentFrame> frames;
  std::vector<SegmentExtent> extents;
};

// Decodes header and tables from the first bytes of the object. EBADMSG: does not verify; EMSGSIZE:
// more bytes needed; EPROTO: a version this code does not know; ENOTSUP: it is a SEAL.
Result<SegmentIndex> DecodeSegmentIndex(std::span<const std::byte> bytes);

class FrameEncoder;

// Builds one segment. Add extents in any order, blocks of data are copied; Finish() lays out the
// object. No block may be added twice. Extents that continue each other are merged. Thread: one at
// a time.
class SegmentBuilder {
 public:
  explicit SegmentBuilder(int zstd_level);
  ~SegmentBuilder();
  SegmentBuilder(const SegmentBuilder&) = delete;
  SegmentBuilder& operator=(const SegmentBuilder&) = delete;
  // Room for one more data extent of `blocks` (0: for one more zero extent)? Counts the worst case,
  // in which every other block is zero.
  [[nodiscard]] bool HasRoom(uint32_t blocks) const noexcept;
  // Appends blocks to the current frame(s); an extent that does not fit one frame is cut. `data` is
  // blocks * kBlockBytes. All-zero blocks become zero extents: they are never stored.
  void AddData(uint64_t start_block, uint32_t blocks, const std::byte* data);
  void AddZeroes(uint64_t start_block, uint32_t blocks);
  // Bytes of stored blocks before compression; zeroes do not count.
  [[nodiscard]] uint64_t raw_bytes() const noexcept { return raw_bytes_; }
  // The whole object and its index; the builder is empty afterwards. `header.id` and the rest must
  // be final.
  struct Built {
    std::vector<std::byte> bytes;
    SegmentIndex index;
  };
  [[nodiscard]] Built Finish(const SegmentHeader& header);

 private:
  void AppendRun(uint64_t start_block, uint32_t blocks, const std::byte* data);
  void CloseFrame();

  std::unique_ptr<FrameEncoder> encoder_;
  uint64_t raw_bytes_ = 0;
  std::vector<std::byte> raw_;        // the frame being filled
  std::vector<std::byte> body_;       // closed frames, one after another
  std::vector<SegmentFrame> frames_;  // offsets count from the body's start until Finish()
  std::vector<SegmentExtent> extents_;
};

// Verifies and decodes one frame as fetched: `bytes` is exactly [offset, offset + length) of object
// `id`. `out` holds `blocks` * kBlockBytes. EBADMSG: anything does not match (I8). Makes a zstd
// context for the call; who decodes many frames keeps a FrameDecoder (segment/frame_codec.h).
Result<void> DecodeFrame(const SegmentId& id, uint32_t offset, uint16_t blocks,
                         std::span<const std::byte> bytes, std::span<std::byte> out);

}  // namespace weir
