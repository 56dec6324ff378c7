// Goal: a chunk's image survives its bytes unchanged, and nothing else is ever taken for one (I8).
// Method: random and extreme images round-trip; each rule is broken once under a right checksum; a
//   hundred thousand mutations with and without a right checksum are decoded.
#include "engine/segment/chunk_codec.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "engine/base/crc32c.h"
#include "engine/segment/segment.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

using Bytes = std::vector<std::byte>;
constexpr uint32_t kChunk = 77;

ChunkImage RandomImage(std::mt19937_64* random, uint32_t extents) {
  ChunkImage image;
  image.chunk = kChunk;
  const uint32_t segments = 1 + static_cast<uint32_t>((*random)() % 5);
  for (uint32_t i = 0; i < segments; ++i) {
    SegmentId id;
    id.volume.bytes[i] = std::byte{9};
    id.epoch = (*random)() % 10;
    id.seq = (*random)();
    image.segments.push_back(id);
  }
  const uint32_t frames = 1 + static_cast<uint32_t>((*random)() % 20);
  for (uint32_t i = 0; i < frames; ++i) {
    image.frames.push_back({.segment = static_cast<uint32_t>((*random)() % segments),
                            .offset = 128 + static_cast<uint32_t>((*random)() % 10'000'000),
                            .length = 33 + static_cast<uint32_t>((*random)() % 100'000),
                            .blocks = 32});
  }
  uint32_t at = 0;
  for (uint32_t i = 0; i < extents && at < kChunkBlocks; ++i) {
    const auto count = static_cast<uint32_t>(1 + (*random)() % 32);
    if (at + count > kChunkBlocks) break;
    image.extents.push_back({.start = static_cast<uint16_t>(at),
                             .count_minus_one = static_cast<uint16_t>(count - 1),
                             .frame = static_cast<uint16_t>((*random)() % frames),
                             .block_in_frame = static_cast<uint8_t>((*random)() % (33 - count))});
    at += count + static_cast<uint32_t>((*random)() % 3 * 10);
  }
  return image;
}

bool Equal(const ChunkImage& a, const ChunkImage& b) {
  const auto frames = [](const ChunkFrame& x, const ChunkFrame& y) {
    return x.segment == y.segment && x.offset == y.offset && x.length == y.length &&
           x.blocks == y.blocks;
  };
  const auto extents = [](const ChunkExtent& x, const ChunkExtent& y) {
    return x.start == y.start && x.count_minus_one == y.count_minus_one && x.frame == y.frame &&
           x.block_in_frame == y.block_in_frame;
  };
  return a.chunk == b.chunk && a.segments == b.segments &&
         std::equal(a.frames.begin(), a.frames.end(), b.frames.begin(), b.frames.end(), frames) &&
         std::equal(a.extents.begin(), a.extents.end(), b.extents.begin(), b.extents.end(),
                    extents);
}

TEST(ChunkCodecTest, RandomImagesComeBack) {
  std::mt19937_64 random(1);
  for (uint32_t round = 0; round < 500; ++round) {
    const ChunkImage image = RandomImage(&random, round * 3);
    const Result<ChunkImage> decoded = DecodeChunk(kChunk, EncodeChunk(image, 1));
    ASSERT_TRUE(decoded.ok()) << round;
    ASSERT_TRUE(Equal(image, decoded.value())) << round;
  }
}

TEST(ChunkCodecTest, AnEmptyImageComesBack) {
  ChunkImage image;
  image.chunk = kChunk;
  const Result<ChunkImage> decoded = DecodeChunk(kChunk, EncodeChunk(image, 1));
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(Equal(image, decoded.value()));
}

// Every block in an extent, a frame and a segment of its own: the largest image there is.
TEST(ChunkCodecTest, TheLargestImageComesBack) {
  std::mt19937_64 random(2);
  ChunkImage image;
  image.chunk = kChunk;
  for (uint32_t i = 0; i < kChunkBlocks; ++i) {
    SegmentId id;
    for (std::byte& byte : id.volume.bytes) byte = static_cast<std::byte>(random());
    id.epoch = random();
    id.seq = random();
    image.segments.push_back(id);
    image.frames.push_back({i, static_cast<uint32_t>(random() % (32U << 20)), 4128, 1});
    image.extents.push_back({static_cast<uint16_t>(i), 0, static_cast<uint16_t>(i), 0});
  }
  const Bytes bytes = EncodeChunk(image, 1);
  std::printf("largest chunk payload: %zu bytes\n", bytes.size());
  EXPECT_LE(bytes.size(), 16U + 16U + kChunkBlocks * 56U);
  const Result<ChunkImage> decoded = DecodeChunk(kChunk, bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(Equal(image, decoded.value()));
}

// The payload of `body` stored raw, under a right checksum.
Bytes RawPayload(const Bytes& body) {
  Bytes payload(16 + body.size());
  wire::Store<uint32_t>(payload.data(), 0x4b484357);
  wire::Store<uint32_t>(payload.data() + 8, static_cast<uint32_t>(body.size()));
  std::copy(body.begin(), body.end(), payload.begin() + 16);
  return payload;
}

void Reseal(Bytes* payload) {
  Bytes covered(4);
  wire::Store<uint32_t>(covered.data(), kChunk);
  covered.insert(covered.end(), payload->begin(), payload->begin() + 12);
  covered.insert(covered.end(), payload->begin() + 16, payload->end());
  wire::Store<uint32_t>(payload->data() + 12, Crc32c(covered));
}

// One segment, one frame of 4 blocks, two extents of 2 blocks.
Bytes SmallBody() {
  Bytes body(16 + 32 + 16 + 2 * 8);
  wire::Store<uint32_t>(body.data(), 1);
  wire::Store<uint32_t>(body.data() + 4, 1);
  wire::Store<uint32_t>(body.data() + 8, 2);
  std::byte* frame = body.data() + 48;
  wire::Store<uint32_t>(frame + 4, 4096);
  wire::Store<uint32_t>(frame + 8, 1000);
  wire::Store<uint32_t>(frame + 12, 4);
  std::byte* extent = body.data() + 64;
  wire::Store<uint16_t>(extent, 10);
  wire::Store<uint16_t>(extent + 2, 1);
  wire::Store<uint16_t>(extent + 8, 12);
  wire::Store<uint16_t>(extent + 10, 1);
  wire::Store<uint16_t>(extent + 14, 2);
  return body;
}

struct Breakage {
  const char* name;
  void (*apply)(Bytes*);  // of the whole payload; the body begins at 16
};

const Breakage kBreakages[] = {
    {"magic", [](Bytes* p) { (*p)[0] = std::byte{0}; }},
    {"codec", [](Bytes* p) { (*p)[4] = std::byte{2}; }},
    {"not zstd", [](Bytes* p) { (*p)[4] = std::byte{1}; }},
    {"padding", [](Bytes* p) { (*p)[5] = std::byte{1}; }},
    {"raw size", [](Bytes* p) { wire::Store<uint32_t>(p->data() + 8, 97); }},
    {"huge raw size", [](Bytes* p) { wire::Store<uint32_t>(p->data() + 8, UINT32_MAX); }},
    {"segment count", [](Bytes* p) { wire::Store<uint32_t>(p->data() + 16, 2); }},
    {"huge counts",
     [](Bytes* p) {
       wire::Store<uint32_t>(p->data() + 16, 1U << 31);
       wire::Store<uint32_t>(p->data() + 20, 1U << 31);
     }},
    {"body padding", [](Bytes* p) { (*p)[28] = std::byte{1}; }},
    {"frame of no segment", [](Bytes* p) { (*p)[16 + 48] = std::byte{1}; }},
    {"frame past 64 MiB", [](Bytes* p) { wire::Store<uint32_t>(p->data() + 16 + 52, 1U << 26); }},
    {"frame without data", [](Bytes* p) { wire::Store<uint32_t>(p->data() + 16 + 56, 32); }},
    {"frame too long", [](Bytes* p) { wire::Store<uint32_t>(p->data() + 16 + 56, 16'417); }},
    {"frame of 33 blocks", [](Bytes* p) { (*p)[16 + 60] = std::byte{33}; }},
    {"frame of 0 blocks", [](Bytes* p) { (*p)[16 + 60] = std::byte{0}; }},
    {"frame padding", [](Bytes* p) { (*p)[16 + 61] = std::byte{1}; }},
    {"extents overlap", [](Bytes* p) { wire::Store<uint16_t>(p->data() + 16 + 72, 11); }},
    {"extents out of order", [](Bytes* p) { wire::Store<uint16_t>(p->data() + 16 + 72, 5); }},
    {"extent past the chunk", [](Bytes* p) { wire::Store<uint16_t>(p->data() + 16 + 72, 16'383); }},
    {"extent past its frame", [](Bytes* p) { wire::Store<uint16_t>(p->data() + 16 + 78, 3); }},
    {"extent of no frame", [](Bytes* p) { wire::Store<uint16_t>(p->data() + 16 + 76, 1); }},
    {"extent padding", [](Bytes* p) { (*p)[16 + 71] = std::byte{1}; }},
};

TEST(ChunkCodecTest, EveryRuleIsEnforced) {
  Bytes valid = RawPayload(SmallBody());
  Reseal(&valid);
  ASSERT_TRUE(DecodeChunk(kChunk, valid).ok());
  for (const Breakage& breakage : kBreakages) {
    Bytes broken = valid;
    breakage.apply(&broken);
    Reseal(&broken);
    const Result<ChunkImage> decoded = DecodeChunk(kChunk, broken);
    ASSERT_FALSE(decoded.ok()) << breakage.name;
    EXPECT_EQ(decoded.error().code, EBADMSG) << breakage.name;
  }
}

// The missing last byte is a zero, which a buffer that was cleared before would supply.
TEST(ChunkCodecTest, ContentThatIsTooShortIsRefused) {
  const Bytes body = SmallBody();
  for (const size_t missing : {0U, 1U}) {
    Bytes payload(16 + ZSTD_compressBound(body.size()));
    const size_t size = payload.size() - 16;
    payload.resize(16 + ZSTD_compress(&payload[16], size, body.data(), body.size() - missing, 1));
    wire::Store<uint32_t>(payload.data(), 0x4b484357);
    payload[4] = std::byte{1};
    wire::Store<uint32_t>(payload.data() + 8, static_cast<uint32_t>(body.size()));
    Reseal(&payload);
    EXPECT_EQ(DecodeChunk(kChunk, payload).ok(), missing == 0);
  }
}

TEST(ChunkCodecTest, AnotherChunksPayloadIsRefused) {
  Bytes valid = RawPayload(SmallBody());
  Reseal(&valid);
  EXPECT_FALSE(DecodeChunk(kChunk + 1, valid).ok());
}

TEST(ChunkCodecTest, EveryTruncationIsRefused) {
  std::mt19937_64 random(3);
  const Bytes valid = EncodeChunk(RandomImage(&random, 100), 1);
  for (size_t size = 0; size < valid.size(); ++size) {
    ASSERT_FALSE(DecodeChunk(kChunk, std::span(valid).first(size)).ok()) << size;
  }
}

// Changes some bytes; never yields the original.
Bytes Mutated(std::mt19937_64* random, const Bytes& valid) {
  Bytes mutated = valid;
  while (mutated == valid) {
    const size_t at = (*random)() % valid.size();
    const size_t size = std::min<size_t>(1 + (*random)() % 8, valid.size() - at);
    for (size_t i = 0; i < size; ++i) {
      mutated[at + i] = static_cast<std::byte>((*random)() % 4 == 0 ? (*random)() : 0);
    }
    if ((*random)() % 2 == 0) mutated[at] ^= static_cast<std::byte>(1U << ((*random)() % 8));
  }
  return mutated;
}

TEST(ChunkCodecFuzz, NoMutationIsAccepted) {
  std::mt19937_64 random(4);
  const Bytes valid = EncodeChunk(RandomImage(&random, 60), 1);
  for (int i = 0; i < 150'000; ++i) {
    ASSERT_FALSE(DecodeChunk(kChunk, Mutated(&random, valid)).ok()) << i;
  }
}

void ExpectInBounds(const ChunkImage& image) {
  for (const ChunkFrame& frame : image.frames) ASSERT_LT(frame.segment, image.segments.size());
  uint32_t end = 0;
  for (const ChunkExtent& extent : image.extents) {
    ASSERT_GE(extent.start, end);
    end = extent.start + extent.count_minus_one + 1U;
    ASSERT_LE(end, kChunkBlocks);
    ASSERT_LT(extent.frame, image.frames.size());
    ASSERT_LE(extent.block_in_frame + extent.count_minus_one + 1U,
              image.frames[extent.frame].blocks);
  }
}

TEST(ChunkCodecFuzz, ResealedMutationsStayInBounds) {
  std::mt19937_64 random(5);
  const Bytes packed = EncodeChunk(RandomImage(&random, 60), 1);
  const Bytes raw = RawPayload(SmallBody());
  int accepted = 0;
  for (int i = 0; i < 150'000; ++i) {
    Bytes mutated = Mutated(&random, i % 2 == 0 ? packed : raw);
    Reseal(&mutated);
    const Result<ChunkImage> decoded = DecodeChunk(kChunk, mutated);
    if (!decoded.ok()) continue;
    ++accepted;
    ASSERT_NO_FATAL_FAILURE(ExpectInBounds(decoded.value()));
  }
  EXPECT_GT(accepted, 1000) << "the mutations are too destructive to test anything";
}

}  // namespace
}  // namespace weir
