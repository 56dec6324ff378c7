// Goal: the engine reads what the TypeScript codecs write; the golden files of format version 1
// stay
//   readable for ever.
// Method: decodes every file in core/log/golden and compares it with what core/log/FORMAT.md says
// it
//   holds. A missing file fails the test.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/base/crc32c.h"
#include "engine/segment/chunk_codec.h"
#include "engine/segment/segment.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

using Bytes = std::vector<std::byte>;

Bytes ReadGolden(const std::string& name) {
  const std::filesystem::path tests = std::filesystem::path(__FILE__).parent_path();
  const std::filesystem::path path = tests.parent_path().parent_path() / "core/log/golden" / name;
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << "missing golden file " << path;
  const std::vector<char> chars((std::istreambuf_iterator<char>(file)), {});
  Bytes bytes(chars.size());
  if (!chars.empty()) std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

// A uid whose bytes are first, first + step, ...
Uid Counting(int first, int step) {
  Uid uid;
  for (size_t i = 0; i < uid.bytes.size(); ++i) {
    uid.bytes[i] = static_cast<std::byte>(first + step * static_cast<int>(i));
  }
  return uid;
}

const Uid kVolume = Counting(0x00, 1);
const Uid kParent = Counting(0xf0, 1);

Bytes Noise() {
  Bytes block(kBlockBytes);
  uint32_t state = 1;
  for (size_t at = 0; at < block.size(); at += 4) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    std::memcpy(&block[at], &state, 4);
  }
  return block;
}

TEST(GoldenFiles, SegmentHeaderAndTables) {
  const Bytes bytes = ReadGolden("segment-v1.bin");
  const Result<SegmentIndex> decoded = DecodeSegmentIndex(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().what;
  const auto& [header, frames, extents] = decoded.value();
  EXPECT_EQ(header.id, (SegmentId{kVolume, 7, 42}));
  EXPECT_EQ(header.nonce, Counting(0xa0, 1));
  EXPECT_EQ(header.journal_id, Counting(0x1f, -1));
  EXPECT_EQ(header.journal_end, 123'456'789U);
  EXPECT_EQ(header.volume_size_bytes, 10ULL << 30);
  EXPECT_EQ(header.created_at_ms, 1'767'225'600'000U);
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].blocks, 1U);
  EXPECT_EQ(frames[1].blocks, 3U);
  EXPECT_EQ(frames[1].offset + frames[1].length, bytes.size());
  ASSERT_EQ(extents.size(), 5U);
  const SegmentExtent expected[] = {{10, 1, 0, 0, false},
                                    {100, 2, 1, 0, false},
                                    {200, 5, 0, 0, true},
                                    {16'383, 1, 1, 2, false},
                                    {16'384, 100'000, 0, 0, true}};
  for (size_t i = 0; i < extents.size(); ++i) {
    EXPECT_EQ(extents[i].start_block, expected[i].start_block);
    EXPECT_EQ(extents[i].block_count, expected[i].block_count);
    EXPECT_EQ(extents[i].frame, expected[i].frame);
    EXPECT_EQ(extents[i].block_in_frame, expected[i].block_in_frame);
    EXPECT_EQ(extents[i].zero, expected[i].zero);
  }
}

TEST(GoldenFiles, SegmentFrames) {
  const Bytes bytes = ReadGolden("segment-v1.bin");
  const Result<SegmentIndex> decoded = DecodeSegmentIndex(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().what;
  Bytes pattern;
  for (int block = 1; block <= 3; ++block) {
    pattern.insert(pattern.end(), kBlockBytes, static_cast<std::byte>(block));
  }
  const Bytes expected[] = {Noise(), pattern};
  for (size_t i = 0; i < 2; ++i) {
    const SegmentFrame& frame = decoded.value().frames[i];
    Bytes out(size_t{frame.blocks} * kBlockBytes);
    ASSERT_TRUE(DecodeFrame(decoded.value().header.id, frame.offset, frame.blocks,
                            std::span(bytes).subspan(frame.offset, frame.length), out)
                    .ok());
    EXPECT_EQ(out, expected[i]);
    EXPECT_EQ(bytes[frame.offset + 4], std::byte{static_cast<uint8_t>(i)}) << "codec";
  }
}

TEST(GoldenFiles, SealIsNotASegment) {
  const Bytes bytes = ReadGolden("seal-v1.bin");
  ASSERT_EQ(bytes.size(), kSegmentHeaderBytes);
  const Result<SegmentIndex> decoded = DecodeSegmentIndex(bytes);
  ASSERT_FALSE(decoded.ok());
  EXPECT_EQ(decoded.error().code, ENOTSUP);
}

void ExpectGoldenChunk(std::span<const std::byte> payload) {
  const Result<ChunkImage> decoded = DecodeChunk(3, payload);
  ASSERT_TRUE(decoded.ok()) << decoded.error().what;
  const ChunkImage& image = decoded.value();
  ASSERT_EQ(image.segments.size(), 2U);
  EXPECT_EQ(image.segments[0], (SegmentId{kVolume, 7, 42}));
  EXPECT_EQ(image.segments[1], (SegmentId{kParent, 2, 9}));
  ASSERT_EQ(image.frames.size(), 3U);
  EXPECT_EQ(image.frames[2].segment, 1U);
  EXPECT_EQ(image.frames[2].offset, 8192U);
  EXPECT_EQ(image.frames[2].length, 65'568U);
  EXPECT_EQ(image.frames[2].blocks, 32U);
  ASSERT_EQ(image.extents.size(), 4U);
  EXPECT_EQ(image.extents[1].start, 5U);
  EXPECT_EQ(image.extents[1].count_minus_one, 1U);
  EXPECT_EQ(image.extents[1].frame, 1U);
  EXPECT_EQ(image.extents[1].block_in_frame, 1U);
  EXPECT_EQ(image.extents[3].start, 16'383U);
  EXPECT_FALSE(DecodeChunk(4, payload).ok()) << "the payload belongs to chunk 3";
}

TEST(GoldenFiles, ChunkPayload) { ExpectGoldenChunk(ReadGolden("chunk-v1.bin")); }

// The engine is handed single payloads, so this walks the checkpoint's table by hand.
TEST(GoldenFiles, CheckpointHoldsThePayload) {
  const Bytes bytes = ReadGolden("checkpoint-v1.bin");
  ASSERT_GE(bytes.size(), 128U);
  const std::byte* header = bytes.data();
  EXPECT_EQ(std::memcmp(header, "WEIRCKP1", 8), 0);
  EXPECT_EQ(wire::Load<uint32_t>(header + 124), Crc32c(std::span(bytes).first(124)));
  const auto objects = wire::Load<uint32_t>(header + 96);
  const auto chunks = wire::Load<uint32_t>(header + 100);
  const auto table_bytes = wire::Load<uint32_t>(header + 112);
  ASSERT_EQ(objects, 2U);
  ASSERT_EQ(chunks, 2U);
  ASSERT_EQ(table_bytes, objects * 32 + chunks * 24);
  ASSERT_GE(bytes.size(), 128U + table_bytes);
  EXPECT_EQ(wire::Load<uint32_t>(header + 116), Crc32c(std::span(bytes).subspan(128, table_bytes)));
  const std::byte* own = header + 128 + size_t{objects} * 32 + 24;
  EXPECT_EQ(wire::Load<uint32_t>(own), 3U);
  EXPECT_EQ(wire::Load<uint32_t>(own + 4), 0U);
  const auto offset = wire::Load<uint64_t>(own + 8);
  const auto length = wire::Load<uint32_t>(own + 16);
  ASSERT_LE(offset + length, bytes.size());
  const std::span<const std::byte> payload = std::span(bytes).subspan(offset, length);
  EXPECT_EQ(wire::Load<uint32_t>(own + 20), Crc32c(payload));
  ExpectGoldenChunk(payload);
}

}  // namespace
}  // namespace weir
