// Contents for the tests of the segment codec.
#pragma once

#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "engine/base/crc32c.h"
#include "engine/segment/segment.h"
#include "engine/segment/wire.h"

namespace weir {

using Bytes = std::vector<std::byte>;

inline SegmentHeader TestHeader() {
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

inline Bytes MakeBlocks(std::mt19937_64* random, uint32_t blocks, Content content) {
  Bytes data(size_t{blocks} * kBlockBytes);
  if (content == Content::kZero) return data;
  for (size_t at = 0; at < data.size(); at += 8) {
    uint64_t word = (*random)();
    if (content == Content::kText) word = 0x2065676175676e61ULL + (word % 32);
    std::memcpy(&data[at], &word, 8);
  }
  return data;
}

inline SegmentBuilder::Built SmallSegment(std::mt19937_64* random) {
  SegmentBuilder builder(1);
  builder.AddData(1000, 20, MakeBlocks(random, 20, Content::kText).data());
  builder.AddData(5000, 20, MakeBlocks(random, 20, Content::kText).data());
  builder.AddZeroes(7000, 100);
  builder.AddData(9000, 2, MakeBlocks(random, 2, Content::kRandom).data());
  return builder.Finish(TestHeader());
}

// Makes both checksums right again, so that only the rule under test can refuse the bytes.
inline void Reseal(Bytes* bytes) {
  const auto table_bytes = wire::Load<uint32_t>(bytes->data() + 112);
  if (bytes->size() >= kSegmentHeaderBytes + table_bytes) {
    const std::span<const std::byte> table(bytes->data() + kSegmentHeaderBytes, table_bytes);
    wire::Store<uint32_t>(bytes->data() + 116, Crc32c(table));
  }
  wire::Store<uint32_t>(bytes->data() + 124, Crc32c(std::span(*bytes).first(124)));
}

}  // namespace weir
