// Goal: every kind of damage to a block is named by its bytes alone.
// Method: stamped blocks, changed by hand in the ways that devices fail.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "oracle/random.h"
#include "oracle/stamp.h"

namespace weir::oracle {
namespace {

constexpr uint64_t kLineage = 42;

using Block = std::vector<std::byte>;

Block Stamped(const StampKey& key) {
  Block block(kBlockBytes);
  FillBlock(key, block);
  return block;
}

Block Ours(uint64_t block, uint64_t write_id) {
  return Stamped({.lineage = kLineage, .block = block, .write_id = write_id});
}

void CopySectors(const Block& from, Block& to, size_t first, size_t count) {
  std::copy_n(from.begin() + static_cast<ptrdiff_t>(first * kSectorBytes), count * kSectorBytes,
              to.begin() + static_cast<ptrdiff_t>(first * kSectorBytes));
}

Content ContentAt(uint64_t block, const Block& bytes) {
  return ReadStamps(kLineage, block, bytes).content;
}

TEST(OracleStamp, NamesTheWriteOfAnIntactBlock) {
  for (const uint64_t id : {1U, 2U, 3U, 4U, 1000U}) {
    const Sighting seen = ReadStamps(kLineage, 9, Ours(9, id));
    EXPECT_EQ(seen.content, Content::kWrite);
    EXPECT_EQ(seen.write_id, id);
  }
}

TEST(OracleStamp, TellsZeroesForeignAndMisplacedApart) {
  EXPECT_EQ(ContentAt(3, Block(kBlockBytes)), Content::kZeroes);
  EXPECT_EQ(ContentAt(3, Block(kBlockBytes, std::byte{0xff})), Content::kForeign);
  EXPECT_EQ(ContentAt(3, Stamped({.lineage = 43, .block = 3, .write_id = 1})), Content::kForeign);
  const Sighting moved = ReadStamps(kLineage, 3, Ours(4, 5));
  EXPECT_EQ(moved.content, Content::kMisplaced);
  EXPECT_EQ(moved.home_block, 4U);
}

TEST(OracleStamp, EverySplitBetweenTwoOriginsIsTorn) {
  const std::vector<Block> others = {Ours(3, 8), Ours(4, 7), Block(kBlockBytes),
                                     Block(kBlockBytes, std::byte{0x55}),
                                     Stamped({.lineage = 1, .block = 3, .write_id = 7})};
  for (const Block& other : others) {
    for (size_t split = 1; split < kSectorsPerBlock; ++split) {
      Block block = Ours(3, 7);
      CopySectors(other, block, split, kSectorsPerBlock - split);
      EXPECT_EQ(ContentAt(3, block), Content::kTorn) << split;
      Block reverse = Ours(3, 7);
      CopySectors(other, reverse, 0, split);
      EXPECT_EQ(ContentAt(3, reverse), Content::kTorn) << split;
    }
  }
}

TEST(OracleStamp, SectorsInTheWrongOrderAreTorn) {
  Block block = Ours(3, 7);
  std::swap_ranges(block.begin(), block.begin() + kSectorBytes, block.begin() + kSectorBytes);
  EXPECT_EQ(ContentAt(3, block), Content::kTorn);
}

TEST(OracleStamp, NoFlippedBitPassesAsIntact) {
  const uint64_t seed = 5;
  Random random(seed);
  for (int round = 0; round < 20000; ++round) {
    Block block = Ours(3, 1 + random.Below(8));
    block[random.Below(kBlockBytes)] ^= static_cast<std::byte>(1U << random.Below(8));
    ASSERT_EQ(ContentAt(3, block), Content::kTorn) << "seed " << seed << " round " << round;
  }
}

}  // namespace
}  // namespace weir::oracle
