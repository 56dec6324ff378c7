// Goal: the cache's eviction picks what S3-FIFO says and never what is in use.
// Method: small indexes are driven by hand, and by random operations next to a plain set of keys.
#include "engine/cache/frame_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace weir {
namespace {

constexpr uint32_t kNone = FrameEntry::kNone;

FrameKey KeyOf(uint64_t number) {
  FrameKey key;
  key.segment.seq = number;
  return key;
}

// An index with every entry free.
std::unique_ptr<FrameIndex> MakeIndex(uint32_t capacity) {
  auto index = std::make_unique<FrameIndex>(capacity);
  for (uint32_t id = capacity; id-- > 0;) index->Free(id);
  return index;
}

uint64_t Evict(FrameIndex* index) {
  const uint32_t victim = index->TakeVictim();
  if (victim == kNone) return UINT64_MAX;
  const uint64_t number = index->at(victim).key.segment.seq;
  index->Free(victim);
  return number;
}

TEST(FrameIndexTest, UnreadFramesGoInTheOrderTheyCame) {
  const auto index = MakeIndex(20);
  for (uint64_t number = 0; number < 20; ++number) index->Add(KeyOf(number), 32);
  EXPECT_TRUE(index->full());
  for (uint64_t number = 0; number < 20; ++number) EXPECT_EQ(Evict(index.get()), number);
  EXPECT_EQ(index->used(), 0U);
  EXPECT_EQ(Evict(index.get()), UINT64_MAX);
}

TEST(FrameIndexTest, AFrameReadAgainOutlivesLaterOnes) {
  const auto index = MakeIndex(20);
  for (uint64_t number = 0; number < 20; ++number) index->Add(KeyOf(number), 32);
  EXPECT_FALSE(index->Touch(index->Find(KeyOf(0)), 1));
  EXPECT_FALSE(index->Touch(index->Find(KeyOf(0)), 2)) << "another block: the same read going on";
  EXPECT_TRUE(index->Touch(index->Find(KeyOf(0)), 1));
  EXPECT_FALSE(index->Touch(index->Find(KeyOf(0)), 1)) << "hot already";
  for (uint64_t number = 1; number < 20; ++number) EXPECT_EQ(Evict(index.get()), number);
  EXPECT_EQ(Evict(index.get()), 0U);
}

TEST(FrameIndexTest, APinnedFrameIsNeverTheVictim) {
  const auto index = MakeIndex(20);
  for (uint64_t number = 0; number < 20; ++number) index->Add(KeyOf(number), 32);
  for (const uint64_t number : {0U, 1U, 19U}) index->Pin(index->Find(KeyOf(number)));
  for (uint64_t number = 2; number < 19; ++number) EXPECT_EQ(Evict(index.get()), number);
  EXPECT_EQ(Evict(index.get()), UINT64_MAX) << "everything left is in use";
  index->Unpin(index->Find(KeyOf(1)));
  EXPECT_EQ(Evict(index.get()), 1U);
}

TEST(FrameIndexTest, AGhostComesBackAsOneWorthKeeping) {
  const auto index = MakeIndex(20);
  for (uint64_t number = 0; number < 20; ++number) index->Add(KeyOf(number), 32);
  EXPECT_EQ(Evict(index.get()), 0U);
  index->Add(KeyOf(0), 32);
  for (uint64_t number = 1; number < 20; ++number) EXPECT_EQ(Evict(index.get()), number);
  EXPECT_EQ(Evict(index.get()), 0U);
}

TEST(FrameIndexTest, EvenAnIndexOfHotFramesFindsAVictimSoon) {
  constexpr uint32_t kFrames = 5000;
  const auto index = MakeIndex(kFrames);
  for (uint64_t number = 0; number < kFrames; ++number) {
    const uint32_t id = index->Add(KeyOf(number), 32);
    for (int i = 0; i < 5; ++i) index->Touch(id, 1);
  }
  for (uint32_t i = 0; i < kFrames; ++i) ASSERT_NE(Evict(index.get()), UINT64_MAX);
  EXPECT_EQ(index->used(), 0U);
}

TEST(FrameIndexTest, RandomOperationsAgreeWithASet) {
  std::mt19937_64 random(1);
  const auto index = MakeIndex(300);
  std::map<uint64_t, uint32_t> held;
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t number = random() % 1000;
    const uint32_t id = index->Find(KeyOf(number));
    ASSERT_EQ(id != kNone, held.contains(number));
    if (id != kNone) {
      ASSERT_EQ(held[number], id);
      index->Touch(id, 1U << random() % 32);
      continue;
    }
    if (index->full() || random() % 8 == 0) {
      const uint64_t victim = Evict(index.get());
      ASSERT_TRUE(victim == UINT64_MAX || held.erase(victim) == 1);
    }
    if (!index->full()) held[number] = index->Add(KeyOf(number), 32);
    ASSERT_EQ(index->used(), held.size());
  }
}

}  // namespace
}  // namespace weir
