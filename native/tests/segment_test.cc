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
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "engine/base/crc32c.h"
#include "engine/segment/frame_codec.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::byte kUnwritten{0xcc};

SegmentHeader TestHeader() {
  SegmentHeader header;
  for (size_t i = 0; i < 16; ++i) {
    header.id.volume.bytes[i] = static_cast<std::byte>(i + 1);
    header.nonce.bytes[i] = static_cast<std::byte>(0x40 + i);
    header.journal_id.bytes[i] = static_cast<std::byte>(0x80 + i);
  }
  header.id.epoch = 0x1122334455667788;
  header.id.seq = 42;
  header.journal_end = 4711;
  header.volume_size_bytes = 1ULL << 40;
  header.created_at_ms = 1'700'000'000'000;
  return header;
}

enum class Content { kRandom, kText, kZero };

Bytes MakeBlocks(std::mt19937_64* random, uint32_t blocks, Content content) {
  Bytes data(size_t{blocks} * kBlockBytes);
  if (content == Content::kZero) return data;
  for (size_t at = 0; at < data.size(); at += 8) {
    uint64_t word = (*random)();
    if (content == Content::kText) word = 0x2065676175676e61ULL + (word % 32);
    std::memcpy(&data[at], &word, 8);
  }
  return data;
}

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
  EXPECT_EQ(built.bytes.size(), kSegmentHeaderBytes);
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

SegmentBuilder::Built SmallSegment(std::mt19937_64* random) {
  SegmentBuilder builder(1);
  builder.AddData(1000, 20, MakeBlocks(random, 20, Content::kText).data());
  builder.AddData(5000, 20, MakeBlocks(random, 20, Content::kText).data());
  builder.AddZeroes(7000, 100);
  builder.AddData(9000, 2, MakeBlocks(random, 2, Content::kRandom).data());
  return builder.Finish(TestHeader());
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

// Makes both checksums right again, so that only the rule under test can refuse the bytes.
void Reseal(Bytes* bytes) {
  const auto table_bytes = wire::Load<uint32_t>(bytes->data() + 112);
  if (bytes->size() >= kSegmentHeaderBytes + table_bytes) {
    const std::span<const std::byte> table(bytes->data() + kSegmentHeaderBytes, table_bytes);
    wire::Store<uint32_t>(bytes->data() + 116, Crc32c(table));
  }
  wire::Store<uint32_t>(bytes->data() + 124, Crc32c(std::span(*bytes).first(124)));
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
