// Goal: what a segment is built from is what it decodes to, and no damaged, foreign or hostile
// bytes
//   are ever taken for a segment or a frame (I8).
// Method: random batches are built, decoded and compared block by block; each validation rule is
//   broken once with checksums made right again; hundreds of thousands of mutations of valid
//   objects must all be refused.
#include "engine/segment/segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "engine/segment/frame_codec.h"
#include "engine/segment/wire.h"
#include "tests/support/segment_content.h"

namespace weir {
namespace {

constexpr std::byte kUnwritten{0xcc};

// What the segment must say about each block: absent, zero, or data.
using Expected = std::map<uint64_t, Bytes>;

void ExpectBlocks(const Expected& expected, const SegmentBuilder::Built& built) {
  const Result<SegmentIndex> decoded = DecodeSegmentIndex(built.bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().what;
  const SegmentIndex& index = decoded.value();
  FrameDecoder decoder;
  std::vector<Bytes> frames;
  for (const SegmentFrame& frame : index.frames) {
    ASSERT_LE(frame.offset + frame.length, built.bytes.size());
    Bytes out(size_t{frame.blocks} * kBlockBytes, kUnwritten);
    const std::span<const std::byte> bytes(&built.bytes[frame.offset], frame.length);
    ASSERT_TRUE(decoder.Decode(index.header.id, frame.offset, frame.blocks, bytes, out).ok());
    frames.push_back(std::move(out));
  }
  size_t blocks = 0;
  const Bytes zeroes(kBlockBytes);
  for (const SegmentExtent& extent : index.extents) {
    for (uint32_t i = 0; i < extent.block_count; ++i, ++blocks) {
      const auto found = expected.find(extent.start_block + i);
      ASSERT_NE(found, expected.end()) << extent.start_block + i;
      const Bytes* frame = extent.zero ? &zeroes : &frames[extent.frame];
      const size_t at = extent.zero ? 0 : size_t{extent.block_in_frame + i} * kBlockBytes;
      ASSERT_EQ(std::memcmp(frame->data() + at, found->second.data(), kBlockBytes), 0);
    }
  }
  EXPECT_EQ(blocks, expected.size());
}

TEST(SegmentTest, AnEmptySegmentCarriesItsHeader) {
  SegmentBuilder builder(1);
  const SegmentBuilder::Built built = builder.Finish(TestHeader());
  // Larger than a SEAL, so that a listing tells the two apart.
  EXPECT_GT(built.bytes.size(), kSegmentHeaderBytes);
  const Result<SegmentIndex> decoded = DecodeSegmentIndex(built.bytes);
  ASSERT_TRUE(decoded.ok());
  const SegmentHeader& header = decoded.value().header;
  EXPECT_EQ(header.id, TestHeader().id);
  EXPECT_EQ(header.nonce, TestHeader().nonce);
  EXPECT_EQ(header.journal_id, TestHeader().journal_id);
  EXPECT_EQ(header.journal_end, 4711U);
  EXPECT_EQ(header.volume_size_bytes, 1ULL << 40);
  EXPECT_EQ(header.created_at_ms, 1'700'000'000'000U);
}

TEST(SegmentTest, RandomBatchesComeBackBlockByBlock) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 60; ++round) {
    SegmentBuilder builder(round % 2 == 0 ? 1 : 3);
    Expected expected;
    uint64_t block = random() % 1000;
    uint64_t stored = 0;
    for (int i = 0; i < 40; ++i) {
      block += random() % 3 == 0 ? random() % 100'000 : 0;
      const auto count = static_cast<uint32_t>(1 + random() % 70);
      Bytes data = MakeBlocks(&random, count, static_cast<Content>(random() % 3));
      // Some zero blocks in the middle of data.
      if (random() % 2 == 0) std::memset(&data[random() % count * kBlockBytes], 0, kBlockBytes);
      ASSERT_TRUE(builder.HasRoom(count));
      if (random() % 8 == 0) {
        builder.AddZeroes(block, count);
        std::fill(data.begin(), data.end(), std::byte{0});
      } else {
        builder.AddData(block, count, data.data());
      }
      for (uint32_t b = 0; b < count; ++b) {
        const auto at = data.begin() + static_cast<std::ptrdiff_t>(size_t{b} * kBlockBytes);
        Bytes one(at, at + kBlockBytes);
        stored += one == Bytes(kBlockBytes) ? 0 : kBlockBytes;
        expected.emplace(block + b, std::move(one));
      }
      block += count;
    }
    EXPECT_EQ(builder.raw_bytes(), stored);
    const SegmentBuilder::Built built = builder.Finish(TestHeader());
    ASSERT_NO_FATAL_FAILURE(ExpectBlocks(expected, built));
    EXPECT_EQ(builder.raw_bytes(), 0U);
    for (size_t i = 0; i + 1 < built.index.frames.size(); ++i) {
      EXPECT_EQ(built.index.frames[i].blocks, kFrameBlocksMax) << "only the last may be short";
    }
  }
}

TEST(SegmentTest, ContiguousBlocksShareAnExtentPerFrame) {
  std::mt19937_64 random(2);
  SegmentBuilder builder(1);
  const Bytes data = MakeBlocks(&random, 80, Content::kText);
  for (uint32_t i = 0; i < 80; ++i) builder.AddData(100 + i, 1, &data[size_t{i} * kBlockBytes]);
  builder.AddZeroes(180, 5);
  builder.AddZeroes(185, 0xffff0000U);
  const SegmentBuilder::Built built = builder.Finish(TestHeader());
  EXPECT_EQ(built.index.frames.size(), 3U);
  ASSERT_EQ(built.index.extents.size(), 4U);
  EXPECT_EQ(built.index.extents[1].start_block, 132U);
  EXPECT_EQ(built.index.extents[1].block_count, 32U);
  EXPECT_EQ(built.index.extents[3].block_count, 0xffff0005U);
}

TEST(SegmentTest, OneByteMakesABlockData) {
  SegmentBuilder builder(1);
  Bytes data(3 * kBlockBytes);
  data[kBlockBytes - 1] = std::byte{1};      // the last byte of the first block
  data[2 * kBlockBytes + 9] = std::byte{1};  // just behind the first word of the third
  builder.AddData(0, 3, data.data());
  const SegmentBuilder::Built built = builder.Finish(TestHeader());
  ASSERT_EQ(built.index.extents.size(), 3U);
  EXPECT_FALSE(built.index.extents[0].zero);
  EXPECT_TRUE(built.index.extents[1].zero);
  EXPECT_FALSE(built.index.extents[2].zero);
}

TEST(SegmentTest, WhatHasRoomDecodes) {
  std::mt19937_64 random(3);
  for (const uint32_t blocks : {1U, 8U, 256U}) {
    SegmentBuilder builder(1);
    Bytes data = MakeBlocks(&random, blocks, Content::kText);
    // Every other block zero: the most extents the blocks can become.
    for (uint32_t b = 1; b < blocks; b += 2) {
      std::memset(&data[size_t{b} * kBlockBytes], 0, kBlockBytes);
    }
    uint64_t at = 0;
    while (builder.HasRoom(blocks)) {
      builder.AddData(at, blocks, data.data());
      at += blocks + 1;
    }
    EXPECT_FALSE(builder.HasRoom(blocks));
    const SegmentBuilder::Built built = builder.Finish(TestHeader());
    const Result<SegmentIndex> decoded = DecodeSegmentIndex(built.bytes);
    ASSERT_TRUE(decoded.ok());
    EXPECT_LE(decoded.value().extents.size(), kSegmentExtentsMax);
    EXPECT_LE(decoded.value().frames.size(), kSegmentFramesMax);
    EXPECT_GT(decoded.value().extents.size(), kSegmentExtentsMax - 2 * blocks - 2);
  }
}

TEST(SegmentTest, IncompressibleFramesStayRaw) {
  std::mt19937_64 random(4);
  SegmentBuilder builder(3);
  builder.AddData(0, 32, MakeBlocks(&random, 32, Content::kRandom).data());
  builder.AddData(32, 32, MakeBlocks(&random, 32, Content::kText).data());
  const SegmentBuilder::Built built = builder.Finish(TestHeader());
  EXPECT_EQ(built.index.frames[0].length, kFrameBytesMax + kFrameHeaderBytes);
  EXPECT_LT(built.index.frames[1].length, kFrameBytesMax / 2);
}

TEST(SegmentTest, AShortIndexAsksForMore) {
  std::mt19937_64 random(5);
  const SegmentBuilder::Built built = SmallSegment(&random);
  const size_t index_bytes = built.index.frames[0].offset;
  for (size_t size = 0; size < index_bytes; ++size) {
    const Result<SegmentIndex> decoded = DecodeSegmentIndex(std::span(built.bytes).first(size));
    ASSERT_FALSE(decoded.ok());
    ASSERT_EQ(decoded.error().code, EMSGSIZE) << size;
  }
  EXPECT_TRUE(DecodeSegmentIndex(std::span(built.bytes).first(index_bytes)).ok());
}

struct Breakage {
  const char* name;
  int code;
  void (*apply)(Bytes*);
};

// SmallSegment has 2 frames (rows at 128 and 140) and 5 extents (rows from 152 on): 20 blocks, 12
// blocks, 8 blocks in frame 1, 100 zeroes, 2 blocks.
constexpr size_t kFrames = 128;
constexpr size_t kExtents = 152;
const Breakage kBreakages[] = {
    {"magic", EBADMSG, [](Bytes* b) { (*b)[0] = std::byte{'X'}; }},
    {"version", EPROTO, [](Bytes* b) { wire::Store<uint32_t>(b->data() + 8, 2); }},
    {"flags", EPROTO, [](Bytes* b) { wire::Store<uint32_t>(b->data() + 120, 1); }},
    {"seal", ENOTSUP, [](Bytes* b) { wire::Store<uint32_t>(b->data() + 12, 2); }},
    {"kind", EBADMSG, [](Bytes* b) { wire::Store<uint32_t>(b->data() + 12, 3); }},
    {"frame count", EBADMSG, [](Bytes* b) { wire::Store<uint32_t>(b->data() + 96, 3); }},
    {"extent count", EBADMSG, [](Bytes* b) { wire::Store<uint32_t>(b->data() + 100, 4); }},
    {"huge counts", EBADMSG,
     [](Bytes* b) {
       wire::Store<uint32_t>(b->data() + 96, 0xffffffffU);
       wire::Store<uint32_t>(b->data() + 100, 0xffffffffU);
     }},
    {"table too large", EBADMSG,
     [](Bytes* b) {
       wire::Store<uint32_t>(b->data() + 100, 10'000);
       wire::Store<uint32_t>(b->data() + 112, 2 * 12 + 10'000 * 16);
     }},
    {"frame over the table", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kFrames, 200); }},
    {"frame over frame", EBADMSG,
     [](Bytes* b) {
       const auto second = wire::Load<uint32_t>(b->data() + kFrames + 12);
       wire::Store<uint32_t>(b->data() + kFrames + 12, second - 1);
     }},
    {"frame past 4 GiB", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kFrames + 12, 0xfffffff0U); }},
    {"frame past 64 MiB", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kFrames + 12, kSegmentBytesMax - 40); }},
    {"frame too long", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kFrames + 16, (10 << 12) + 33); }},
    {"frame without data", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kFrames + 4, 32); }},
    {"frame of 33 blocks", EBADMSG,
     [](Bytes* b) { wire::Store<uint16_t>(b->data() + kFrames + 8, 33); }},
    {"frame of 0 blocks", EBADMSG,
     [](Bytes* b) { wire::Store<uint16_t>(b->data() + kFrames + 8, 0); }},
    {"frame padding", EBADMSG,
     [](Bytes* b) { wire::Store<uint16_t>(b->data() + kFrames + 10, 1); }},
    {"extent kind", EBADMSG, [](Bytes* b) { (*b)[kExtents + 15] = std::byte{2}; }},
    {"extent of 0 blocks", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kExtents + 8, 0); }},
    {"extent past its frame", EBADMSG,
     [](Bytes* b) { wire::Store<uint32_t>(b->data() + kExtents + 8, 33); }},
    {"extent block past its frame", EBADMSG, [](Bytes* b) { (*b)[kExtents + 14] = std::byte{13}; }},
    {"extent of no frame", EBADMSG,
     [](Bytes* b) { wire::Store<uint16_t>(b->data() + kExtents + 12, 2); }},
    {"extent past the largest volume", EBADMSG,
     [](Bytes* b) { wire::Store<uint64_t>(b->data() + kExtents, kVolumeBlocksMax - 19); }},
    {"extent start wraps", EBADMSG,
     [](Bytes* b) { wire::Store<uint64_t>(b->data() + kExtents, ~uint64_t{0} - 3); }},
    {"zeroes with a frame", EBADMSG,
     [](Bytes* b) { wire::Store<uint16_t>(b->data() + kExtents + 48 + 12, 1); }},
    {"neighbours overlap", EBADMSG,
     [](Bytes* b) { wire::Store<uint64_t>(b->data() + kExtents + 16, 1019); }},
    {"far extents overlap", EBADMSG,
     [](Bytes* b) { wire::Store<uint64_t>(b->data() + kExtents + 64, 1000); }},
};

TEST(SegmentTest, EveryRuleIsEnforced) {
  std::mt19937_64 random(6);
  const SegmentBuilder::Built built = SmallSegment(&random);
  ASSERT_EQ(built.index.frames.size(), 2U);
  ASSERT_EQ(built.index.extents.size(), 5U);
  Bytes whole = built.bytes;
  whole.resize(kSegmentTableBytesMax * 2);
  ASSERT_TRUE(DecodeSegmentIndex(whole).ok());
  for (const Breakage& breakage : kBreakages) {
    Bytes broken = whole;
    breakage.apply(&broken);
    Reseal(&broken);
    const Result<SegmentIndex> decoded = DecodeSegmentIndex(broken);
    ASSERT_FALSE(decoded.ok()) << breakage.name;
    EXPECT_EQ(decoded.error().code, breakage.code) << breakage.name;
  }
}

TEST(SegmentTest, ExtentsMayComeInAnyOrder) {
  std::mt19937_64 random(7);
  SegmentBuilder builder(1);
  for (const uint64_t start : {900U, 100U, 500U}) {
    builder.AddData(start, 3, MakeBlocks(&random, 3, Content::kText).data());
  }
  EXPECT_TRUE(DecodeSegmentIndex(builder.Finish(TestHeader()).bytes).ok());
}

TEST(SegmentDeathTest, BuildingAnOverlapStopsTheProcess) {
  SegmentBuilder builder(1);
  builder.AddZeroes(10, 10);
  builder.AddZeroes(15, 1);
  EXPECT_DEATH(static_cast<void>(builder.Finish(TestHeader())), "check failed");
}

}  // namespace
}  // namespace weir
