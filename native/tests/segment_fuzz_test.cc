// Goal: no damaged, foreign or hostile bytes are ever taken for a segment's index or a frame (I8).
// Method: hundreds of thousands of mutations of valid objects must all be refused; with checksums
// made
//   right again they may decode, but never out of bounds; frames are offered under other names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "engine/segment/frame_codec.h"
#include "engine/segment/segment.h"
#include "tests/support/segment_content.h"

namespace weir {
namespace {

// Flips, overwrites or copies bytes inside [0, limit); never yields the original.
void Mutate(std::mt19937_64* random, size_t limit, Bytes* bytes) {
  const Bytes original(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(limit));
  while (std::equal(original.begin(), original.end(), bytes->begin())) {
    const size_t at = (*random)() % limit;
    const size_t size = std::min<size_t>(1 + (*random)() % 16, limit - at);
    const uint64_t kind = (*random)() % 3;
    if (kind == 0) (*bytes)[at] ^= static_cast<std::byte>(1U << ((*random)() % 8));
    for (size_t i = 0; kind == 1 && i < size; ++i) {
      (*bytes)[at + i] = static_cast<std::byte>((*random)());
    }
    if (kind == 2) std::memmove(&(*bytes)[at], &(*bytes)[(*random)() % (limit - size + 1)], size);
  }
}

TEST(SegmentFuzz, NoMutatedIndexIsAccepted) {
  std::mt19937_64 random(8);
  const SegmentBuilder::Built built = SmallSegment(&random);
  const size_t index_bytes = built.index.frames[0].offset;
  const Bytes valid(built.bytes.begin(), built.bytes.begin() + static_cast<long>(index_bytes));
  for (int i = 0; i < 200'000; ++i) {
    Bytes mutated = valid;
    Mutate(&random, index_bytes, &mutated);
    ASSERT_FALSE(DecodeSegmentIndex(mutated).ok()) << i;
  }
}

// With checksums made right the mutation may decode; then what it says must be in bounds.
TEST(SegmentFuzz, ResealedMutationsStayInBounds) {
  std::mt19937_64 random(9);
  const SegmentBuilder::Built built = SmallSegment(&random);
  const size_t index_bytes = built.index.frames[0].offset;
  const Bytes valid(built.bytes.begin(), built.bytes.begin() + static_cast<long>(index_bytes));
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    Bytes mutated = valid;
    Mutate(&random, index_bytes, &mutated);
    Reseal(&mutated);
    const Result<SegmentIndex> decoded = DecodeSegmentIndex(mutated);
    if (!decoded.ok()) continue;
    ++accepted;
    for (const SegmentExtent& extent : decoded.value().extents) {
      ASSERT_LE(extent.start_block + extent.block_count, kVolumeBlocksMax);
      if (extent.zero) continue;
      ASSERT_LT(extent.frame, decoded.value().frames.size());
      ASSERT_LE(extent.block_in_frame + extent.block_count,
                decoded.value().frames[extent.frame].blocks);
    }
  }
  EXPECT_GT(accepted, 1000) << "the mutations are too destructive to test anything";
}

TEST(SegmentFuzz, NoMutatedFrameIsAccepted) {
  std::mt19937_64 random(10);
  const SegmentBuilder::Built built = SmallSegment(&random);
  FrameDecoder decoder;
  for (const SegmentFrame& frame : built.index.frames) {
    const auto from = built.bytes.begin() + frame.offset;
    const Bytes valid(from, from + frame.length);
    Bytes out(size_t{frame.blocks} * kBlockBytes);
    const SegmentId id = TestHeader().id;
    ASSERT_TRUE(decoder.Decode(id, frame.offset, frame.blocks, valid, out).ok());
    for (int i = 0; i < 60'000; ++i) {
      Bytes mutated = valid;
      Mutate(&random, i % 2 == 0 ? mutated.size() : kFrameHeaderBytes, &mutated);
      if (i % 10 == 0) mutated.resize(random() % (valid.size() + 1));
      ASSERT_FALSE(decoder.Decode(id, frame.offset, frame.blocks, mutated, out).ok()) << i;
    }
  }
}

// A frame whose checksum is right but whose content is not a frame of that many blocks.
TEST(SegmentFuzz, ResealedFramesNeverCrash) {
  std::mt19937_64 random(11);
  const SegmentBuilder::Built built = SmallSegment(&random);
  const SegmentFrame frame = built.index.frames[0];
  const auto from = built.bytes.begin() + frame.offset;
  FrameDecoder decoder;
  Bytes out(size_t{frame.blocks} * kBlockBytes);
  const SegmentId id = TestHeader().id;
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    Bytes mutated(from, from + frame.length);
    Mutate(&random, i % 2 == 0 ? mutated.size() : 80, &mutated);
    SealFrame(id, frame.offset, mutated);
    accepted += decoder.Decode(id, frame.offset, frame.blocks, mutated, out).ok() ? 1 : 0;
  }
  std::printf("%d of 20,000 resealed mutations are valid frames\n", accepted);
  EXPECT_LT(accepted, 20'000);
}

TEST(FrameTest, BelongsToItsObjectAndPlace) {
  std::mt19937_64 random(12);
  const SegmentBuilder::Built built = SmallSegment(&random);
  const SegmentFrame frame = built.index.frames[0];
  const std::span<const std::byte> bytes(&built.bytes[frame.offset], frame.length);
  Bytes out(size_t{frame.blocks} * kBlockBytes);
  const SegmentId id = TestHeader().id;
  ASSERT_TRUE(DecodeFrame(id, frame.offset, frame.blocks, bytes, out).ok());
  SegmentId other = id;
  ++other.seq;
  EXPECT_EQ(DecodeFrame(other, frame.offset, frame.blocks, bytes, out).error().code, EBADMSG);
  other = id;
  ++other.epoch;
  EXPECT_FALSE(DecodeFrame(other, frame.offset, frame.blocks, bytes, out).ok());
  other = id;
  other.volume.bytes[3] = std::byte{0};
  EXPECT_FALSE(DecodeFrame(other, frame.offset, frame.blocks, bytes, out).ok());
  EXPECT_FALSE(DecodeFrame(id, frame.offset + 1, frame.blocks, bytes, out).ok());
  const auto fewer = static_cast<uint16_t>(frame.blocks - 1);
  Bytes shorter(size_t{fewer} * kBlockBytes);
  EXPECT_FALSE(DecodeFrame(id, frame.offset, fewer, bytes, shorter).ok());
}

// Right checksum, right header, but the content is a block short.
TEST(FrameTest, ContentThatIsTooShortIsRefused) {
  std::mt19937_64 random(14);
  FrameEncoder encoder(1);
  Bytes frame;
  encoder.Append(MakeBlocks(&random, 3, Content::kText), &frame);
  frame[5] = std::byte{4};
  SealFrame(TestHeader().id, 128, frame);
  Bytes out(4 * kBlockBytes);
  EXPECT_FALSE(DecodeFrame(TestHeader().id, 128, 4, frame, out).ok());
  frame[5] = std::byte{3};
  SealFrame(TestHeader().id, 128, frame);
  EXPECT_TRUE(DecodeFrame(TestHeader().id, 128, 3, frame, std::span(out).first(3 * 4096)).ok());
}

TEST(FrameTest, PrintsCodecSpeed) {
  std::mt19937_64 random(13);
  constexpr uint32_t kRounds = 16;
  for (const Content content : {Content::kRandom, Content::kText}) {
    const Bytes data = MakeBlocks(&random, 2048, content);
    SegmentBuilder builder(1);
    std::chrono::duration<double> encode{};
    std::chrono::duration<double> decode{};
    uint64_t object_bytes = 0;
    FrameDecoder decoder;
    Bytes out(kFrameBytesMax);
    for (uint32_t round = 0; round < kRounds; ++round) {
      auto from = std::chrono::steady_clock::now();
      builder.AddData(0, 2048, data.data());
      const SegmentBuilder::Built built = builder.Finish(TestHeader());
      encode += std::chrono::steady_clock::now() - from;
      object_bytes = built.bytes.size();
      from = std::chrono::steady_clock::now();
      for (const SegmentFrame& frame : built.index.frames) {
        const std::span<const std::byte> bytes(&built.bytes[frame.offset], frame.length);
        ASSERT_TRUE(decoder.Decode(TestHeader().id, frame.offset, frame.blocks, bytes, out).ok());
      }
      decode += std::chrono::steady_clock::now() - from;
    }
    const double megabytes = kRounds * static_cast<double>(data.size()) / 1e6;
    std::printf("%s: encode %.0f MB/s, decode %.0f MB/s, 8 MiB become %.2f MiB\n",
                content == Content::kRandom ? "random" : "text", megabytes / encode.count(),
                megabytes / decode.count(), static_cast<double>(object_bytes) / (1U << 20));
  }
}

}  // namespace
}  // namespace weir
