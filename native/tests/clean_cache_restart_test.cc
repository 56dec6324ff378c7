// Goal: the file tier survives a restart, and no damage to its files is ever served (I8).
// Method: caches are filled, closed and opened again with other sizes or after damage to data and
//   index, byte by byte, by moved records, exchanged slots and truncation; every hit is compared.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/cache/clean_cache.h"
#include "engine/cache/slot_record.h"
#include "tests/support/clean_cache_fixture.h"

namespace weir {
namespace {

using CleanCacheRestart = CleanCacheTest;

TEST_F(CleanCacheRestart, SurvivesARestart) {
  const uint64_t slots = 10'000 / 32;
  const CleanCacheConfig config = Config(0, slots * kFrameBytesMax);
  {
    const auto cache = MustOpen(config);
    for (uint64_t number = 0; number < 100; ++number) {
      Insert(cache.get(), number, static_cast<uint32_t>(number % 20), 8);
    }
  }
  const auto cache = MustOpen(config);
  EXPECT_EQ(cache->stats().file_bytes, 100 * uint64_t{kFrameBytesMax});
  for (uint64_t number = 0; number < 100; ++number) {
    const auto first = static_cast<uint32_t>(number % 20);
    EXPECT_TRUE(ReadRight(cache.get(), number, first, 8));
    EXPECT_FALSE(ReadRight(cache.get(), number, first + 7, 2));
  }
  // The free slots are usable, too.
  for (uint64_t number = 100; number < slots; ++number) Insert(cache.get(), number);
  for (uint64_t number = 0; number < slots; ++number) {
    EXPECT_TRUE(ReadRight(cache.get(), number, static_cast<uint32_t>(number % 20), 8));
  }
  EXPECT_EQ(cache->stats().corrupt, 0U);
}

TEST_F(CleanCacheRestart, ARestartAfterManyEvictionsFindsNothingStale) {
  const CleanCacheConfig config = Config(0, 20 * uint64_t{kFrameBytesMax});
  {
    const auto cache = MustOpen(config);
    for (uint64_t number = 0; number < 500; ++number) Insert(cache.get(), number);
  }
  const auto cache = MustOpen(config);
  uint64_t hits = 0;
  for (uint64_t number = 0; number < 500; ++number) {
    hits += ReadRight(cache.get(), number, 0, kFull) ? 1 : 0;
  }
  EXPECT_EQ(hits, 20U);
  EXPECT_EQ(cache->stats().corrupt, 0U) << "old records were erased before new data";
}

TEST_F(CleanCacheRestart, ShrinksAndGrowsAtARestart) {
  for (const uint64_t slots : {20UL, 5UL, 40UL}) {
    const auto cache = MustOpen(Config(0, slots * kFrameBytesMax));
    for (uint64_t number = 0; number < 5; ++number) {
      if (slots == 20) Insert(cache.get(), number);
      EXPECT_TRUE(ReadRight(cache.get(), number, 0, kFull)) << slots;
    }
    EXPECT_EQ(std::filesystem::file_size(data_path()), slots * kFrameBytesMax);
  }
}

TEST_F(CleanCacheRestart, OnlyOneEngineHasTheFiles) {
  const auto cache = MustOpen(Config(0, kMiB));
  const Result<std::unique_ptr<CleanCache>> second = CleanCache::Open(Config(0, kMiB));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, EBUSY);
}

TEST_F(CleanCacheRestart, ADamagedBlockIsAMissAndItsFrameGoes) {
  const auto cache = MustOpen(Config(0, kMiB));
  Insert(cache.get(), 1);
  Damage(data_path(), 5 * kBlockBytes + 100);
  EXPECT_TRUE(ReadRight(cache.get(), 1, 0, 5)) << "the blocks before it verify";
  EXPECT_FALSE(ReadRight(cache.get(), 1, 4, 3));
  EXPECT_EQ(cache->stats().corrupt, 1U);
  EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 5)) << "dropped as a whole";
  Insert(cache.get(), 1);
  EXPECT_TRUE(ReadRight(cache.get(), 1, 0, kFull));
}

TEST_F(CleanCacheRestart, ADroppedFrameStaysDroppedAfterARestart) {
  {
    const auto cache = MustOpen(Config(0, kMiB));
    Insert(cache.get(), 1);
    Damage(data_path(), 0);
    EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 1));
  }
  const auto cache = MustOpen(Config(0, kMiB));
  EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 1));
  EXPECT_EQ(cache->stats().corrupt, 0U);
}

// A record under another slot's number, as a misdirected write leaves it.
TEST_F(CleanCacheRestart, AMovedRecordIsNotTaken) {
  {
    const auto cache = MustOpen(Config(0, kMiB));
    Insert(cache.get(), 1);
    Insert(cache.get(), 2);
  }
  const UniqueFd fd(open(index_path().c_str(), O_RDWR | O_CLOEXEC));
  std::vector<char> records(512);
  ASSERT_EQ(pread(fd.get(), records.data(), 512, 0), 512);
  std::rotate(records.begin(), records.begin() + 256, records.end());
  ASSERT_EQ(pwrite(fd.get(), records.data(), 512, 0), 512);
  const auto cache = MustOpen(Config(0, kMiB));
  EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 1));
  EXPECT_FALSE(ReadRight(cache.get(), 2, 0, 1));
  EXPECT_EQ(cache->stats().corrupt, 0U) << "noticed at once, not at the first read";
}

// Rewrites the record of a slot with a right checksum.
class SlotEditor {
 public:
  explicit SlotEditor(const std::string& index_path)
      : fd_(open(index_path.c_str(), O_RDWR | O_CLOEXEC)) {}

  [[nodiscard]] SlotRecord Load(uint32_t slot) const {
    SlotRecordBytes bytes;
    EXPECT_EQ(pread(fd_.get(), bytes.data(), bytes.size(), slot * 256), 256);
    SlotRecord record;
    EXPECT_TRUE(DecodeSlotRecord(slot, bytes, &record));
    return record;
  }
  void Store(uint32_t slot, const SlotRecord& record) const {
    const SlotRecordBytes bytes = EncodeSlotRecord(slot, record);
    EXPECT_EQ(pwrite(fd_.get(), bytes.data(), bytes.size(), slot * 256), 256);
  }

 private:
  UniqueFd fd_;
};

// Data and checksums of one frame under the name of another: the checksums cover the name.
TEST_F(CleanCacheRestart, DataUnderAnotherNameIsNotTaken) {
  {
    const auto cache = MustOpen(Config(0, kMiB));
    Insert(cache.get(), 1);
  }
  const SlotEditor editor(index_path());
  SlotRecord record = editor.Load(0);
  record.key = KeyOf(2);
  editor.Store(0, record);
  const auto cache = MustOpen(Config(0, kMiB));
  EXPECT_TRUE(cache->Contains(KeyOf(2))) << "the record itself is fine";
  EXPECT_FALSE(ReadRight(cache.get(), 2, 0, 1));
}

TEST_F(CleanCacheRestart, AFrameInTwoSlotsCountsOnce) {
  {
    const auto cache = MustOpen(Config(0, kMiB));
    Insert(cache.get(), 1);
    Insert(cache.get(), 2);
  }
  const SlotEditor editor(index_path());
  editor.Store(0, editor.Load(1));
  const auto cache = MustOpen(Config(0, kMiB));
  EXPECT_EQ(cache->stats().file_bytes, uint64_t{kFrameBytesMax});
  EXPECT_TRUE(ReadRight(cache.get(), 2, 0, kFull));
}

// Writes fail half-way through slot 10 and behind it, as on a device that gives up.
TEST_F(CleanCacheRestart, FailedWritesLeaveNothingStale) {
  const CleanCacheConfig config = Config(0, 20 * uint64_t{kFrameBytesMax});
  {
    const auto cache = MustOpen(config);
    for (uint64_t number = 0; number < 20; ++number) Insert(cache.get(), number);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before = {};
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limited = before;
    limited.rlim_cur = 10 * kFrameBytesMax + kFrameBytesMax / 2;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
    for (uint64_t number = 100; number < 120; ++number) Insert(cache.get(), number);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (uint64_t number = 100; number < 120; ++number) {
      static_cast<void>(ReadRight(cache.get(), number, 0, kFull));
    }
    EXPECT_EQ(cache->stats().corrupt, 0U) << "a block that was not written is absent, not corrupt";
  }
  const auto cache = MustOpen(config);
  for (uint64_t number = 0; number < 120; ++number) {
    static_cast<void>(ReadRight(cache.get(), number, 0, kFull));
  }
  EXPECT_EQ(cache->stats().corrupt, 0U) << "old records are erased before new data";
}

// Two slots exchanged in the data file only: checksums cover whose block it is.
TEST_F(CleanCacheRestart, AnotherSlotsDataIsNotTaken) {
  {
    const auto cache = MustOpen(Config(0, kMiB));
    Insert(cache.get(), 1);
    Insert(cache.get(), 2);
  }
  const UniqueFd fd(open(data_path().c_str(), O_RDWR | O_CLOEXEC));
  Bytes second(kFrameBytesMax);
  ASSERT_EQ(pread(fd.get(), second.data(), second.size(), kFrameBytesMax), kFrameBytesMax);
  ASSERT_EQ(pwrite(fd.get(), second.data(), second.size(), 0), kFrameBytesMax);
  const auto cache = MustOpen(Config(0, kMiB));
  EXPECT_FALSE(ReadRight(cache.get(), 1, 0, kFull));
  EXPECT_TRUE(ReadRight(cache.get(), 2, 0, kFull));
  EXPECT_EQ(cache->stats().corrupt, kFull);
}

TEST_F(CleanCacheRestart, SurvivesAnyDamageToItsIndex) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 60; ++round) {
    {
      const auto cache = MustOpen(Config(0, kMiB));
      for (uint64_t number = 0; number < 8; ++number) Insert(cache.get(), number);
    }
    const int damages = 1 + round % 10;
    for (int i = 0; i < damages; ++i) Damage(index_path(), random() % (8 * 256));
    if (round % 7 == 0) std::filesystem::resize_file(index_path(), random() % (8 * 256));
    const auto cache = MustOpen(Config(0, kMiB));
    uint64_t hits = 0;
    for (uint64_t number = 0; number < 8; ++number) {
      hits += ReadRight(cache.get(), number, 0, kFull) ? 1 : 0;
    }
    EXPECT_LT(hits, 8U) << "a damaged record was taken";
  }
}

TEST_F(CleanCacheRestart, AFileCutShortUnderneathIsAMiss) {
  const auto cache = MustOpen(Config(0, kMiB));
  for (uint64_t number = 0; number < 8; ++number) Insert(cache.get(), number);
  std::filesystem::resize_file(data_path(), kFrameBytesMax);
  EXPECT_TRUE(ReadRight(cache.get(), 0, 0, kFull));
  EXPECT_FALSE(ReadRight(cache.get(), 7, 0, kFull));
}

}  // namespace
}  // namespace weir
