// Goal: a hit returns exactly the frame's bytes or is no hit; limits hold at every moment; a scan
// does
//   not push out what is used again.
// Method: block contents follow from key and block number, so every hit is checked byte by byte,
// also
//   from several threads (run under ThreadSanitizer) while another one damages the file. Eviction
//   is judged by counts, next to a plain FIFO of the same size under the same reads.
#include "engine/cache/clean_cache.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <iterator>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/clean_cache_fixture.h"

namespace weir {
namespace {

TEST_F(CleanCacheTest, ReadsBackFromRam) {
  const auto cache = MustOpen({.directory = "", .ram_bytes = 4 * kMiB, .file_bytes = 0});
  EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 1));
  Insert(cache.get(), 1);
  EXPECT_TRUE(ReadRight(cache.get(), 1, 0, kFull));
  EXPECT_TRUE(ReadRight(cache.get(), 1, 31, 1));
  EXPECT_FALSE(ReadRight(cache.get(), 2, 0, 1));
  EXPECT_EQ(cache->stats().ram_hits, 2U);
  EXPECT_EQ(cache->stats().misses, 2U);
}

TEST_F(CleanCacheTest, ReadsBackFromTheFile) {
  const auto cache = MustOpen(Config(0, kMiB));
  Insert(cache.get(), 1);
  EXPECT_TRUE(ReadRight(cache.get(), 1, 0, kFull));
  EXPECT_TRUE(ReadRight(cache.get(), 1, 7, 3));
  EXPECT_EQ(cache->stats().file_hits, 2U);
  EXPECT_EQ(cache->stats().file_bytes, uint64_t{kFrameBytesMax});
}

TEST_F(CleanCacheTest, WithoutAnyRoomEverythingIsAMiss) {
  for (const CleanCacheConfig& config :
       {Config(0, 0), Config(kFrameBytesMax - 1, kFrameBytesMax - 1),
        CleanCacheConfig{"", 0, 99}}) {
    const auto cache = MustOpen(config);
    Insert(cache.get(), 1);
    EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 1));
    EXPECT_FALSE(cache->Contains(KeyOf(1)));
    EXPECT_LE(cache->stats().ram_bytes, config.ram_bytes);
  }
}

TEST_F(CleanCacheTest, PartsOfAFrameComeTogether) {
  for (const CleanCacheConfig& config : {Config(4 * kMiB, 0), Config(0, kMiB)}) {
    const auto cache = MustOpen(config);
    Insert(cache.get(), 1, 4, 4);
    EXPECT_TRUE(ReadRight(cache.get(), 1, 4, 4));
    EXPECT_TRUE(ReadRight(cache.get(), 1, 5, 2));
    EXPECT_FALSE(ReadRight(cache.get(), 1, 3, 2)) << "block 3 is absent";
    EXPECT_FALSE(ReadRight(cache.get(), 1, 7, 2)) << "block 8 is absent";
    Insert(cache.get(), 1, 0, 6);
    Insert(cache.get(), 1, 10, 2);
    EXPECT_TRUE(ReadRight(cache.get(), 1, 0, 8));
    EXPECT_FALSE(ReadRight(cache.get(), 1, 0, 12));
    EXPECT_FALSE(cache->Contains(KeyOf(1)));
    Insert(cache.get(), 1);
    EXPECT_TRUE(ReadRight(cache.get(), 1, 0, kFull));
    EXPECT_TRUE(cache->Contains(KeyOf(1)));
  }
}

TEST_F(CleanCacheTest, AShortFrameIsCompleteWithFewerBlocks) {
  const auto cache = MustOpen(Config(4 * kMiB, kMiB));
  cache->Insert(KeyOf(9), 3, 0, 3, ContentOf(9, 0, 3).data());
  EXPECT_TRUE(cache->Contains(KeyOf(9)));
  EXPECT_TRUE(ReadRight(cache.get(), 9, 0, 3));
}

TEST_F(CleanCacheTest, TiersCompleteEachOther) {
  // RAM holds 60 frames' worth of blocks at most, the file 4 frames.
  const auto cache = MustOpen(Config(8 * kMiB, 4 * uint64_t{kFrameBytesMax}));
  Insert(cache.get(), 1, 0, 16);
  for (uint64_t other = 10; other < 20; ++other) Insert(cache.get(), other, 0, 1);
  Insert(cache.get(), 1, 16, 16);  // the file has lost blocks 0 to 15 by now, or not: RAM has them
  EXPECT_TRUE(ReadRight(cache.get(), 1, 0, kFull));
}

TEST_F(CleanCacheTest, ReadRamNeverTouchesTheFile) {
  const auto cache = MustOpen(Config(0, kMiB));
  Insert(cache.get(), 1);
  Bytes out(kBlockBytes);
  EXPECT_FALSE(cache->ReadRam(KeyOf(1), 0, 1, out.data()));
  EXPECT_EQ(cache->stats().misses, 0U);
  const auto ram = MustOpen({.directory = "", .ram_bytes = 4 * kMiB, .file_bytes = 0});
  Insert(ram.get(), 1, 2, 2);
  EXPECT_TRUE(ram->ReadRam(KeyOf(1), 3, 1, out.data()));
  EXPECT_EQ(out, ContentOf(1, 3, 1));
  Bytes two(2 * kBlockBytes);
  EXPECT_FALSE(ram->ReadRam(KeyOf(1), 3, 2, two.data()));
}

TEST_F(CleanCacheTest, LimitsHoldAfterEveryInsert) {
  std::mt19937_64 random(1);
  for (const uint64_t ram_bytes : {200 * 1024UL, kMiB, 3 * kMiB + 777, 17 * kMiB}) {
    const uint64_t file_bytes = 9 * kFrameBytesMax + 5;
    const auto cache = MustOpen(Config(ram_bytes, file_bytes));
    uint64_t most = 0;
    for (int i = 0; i < 3000; ++i) {
      const auto first = static_cast<uint32_t>(random() % kFull);
      const auto count = static_cast<uint32_t>(1 + random() % (kFull - first));
      Insert(cache.get(), random() % 500, first, count);
      const CleanCache::Stats stats = cache->stats();
      ASSERT_LE(stats.ram_bytes, ram_bytes);
      ASSERT_LE(stats.file_bytes, file_bytes);
      most = std::max(most, stats.ram_bytes);
    }
    EXPECT_GE(most, ram_bytes * 9 / 10) << "the limit is used, not only kept";
    EXPECT_EQ(cache->stats().file_bytes, 9 * uint64_t{kFrameBytesMax});
  }
}

TEST_F(CleanCacheTest, InsertingAgainTakesNoMore) {
  const auto cache = MustOpen({.directory = "", .ram_bytes = 16 * kMiB, .file_bytes = 0});
  Insert(cache.get(), 1);
  const uint64_t held = cache->stats().ram_bytes;
  for (int i = 0; i < 10; ++i) Insert(cache.get(), 1, static_cast<uint32_t>(i), 20);
  EXPECT_EQ(cache->stats().ram_bytes, held);
}

TEST_F(CleanCacheTest, TheFilesIndexIsPaidFromTheRamLimit) {
  // 800 slots need about 180 KiB of index.
  const auto cache = MustOpen(Config(kMiB, 100 * kMiB));
  EXPECT_GT(cache->stats().ram_bytes, 150U << 10);
  for (uint64_t number = 0; number < 100; ++number) Insert(cache.get(), number);
  EXPECT_LE(cache->stats().ram_bytes, kMiB);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(CleanCacheTest, TheIndexCostsWhatItSays) {
  const auto held = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  const size_t before = held();
  const auto cache = MustOpen(Config(0, 512 * kMiB));
  const auto real = static_cast<double>(held() - before);
  EXPECT_NEAR(static_cast<double>(cache->stats().ram_bytes), real, real / 50);
}
#endif

// What a plain FIFO of `capacity` frames would still hold of `hot` after the same sequence of
// reads.
class PlainFifo {
 public:
  explicit PlainFifo(size_t capacity) : capacity_(capacity) {}
  void Read(uint64_t number) {
    if (!held_.insert(number).second) return;
    order_.push_back(number);
    if (order_.size() <= capacity_) return;
    held_.erase(order_.front());
    order_.pop_front();
  }
  [[nodiscard]] size_t Survivors(uint64_t hot) const {
    return static_cast<size_t>(std::distance(held_.begin(), held_.lower_bound(hot)));
  }

 private:
  size_t capacity_;
  std::set<uint64_t> held_;
  std::deque<uint64_t> order_;
};

struct Survivors {
  uint64_t cache = 0;
  size_t fifo = 0;
};

// Reads a hot set (frames 0 to hot - 1) a few times, then ten times the cache of cold frames, each
// in pieces of `step` blocks, as a reader without the cache would: what is absent is inserted.
Survivors ScanPastHotSet(CleanCache* cache, uint64_t capacity, uint64_t hot, uint32_t step) {
  PlainFifo fifo(capacity);
  const auto read_frame = [&](uint64_t number) {
    fifo.Read(number);
    for (uint32_t block = 0; block < kFull; block += step) {
      if (!ReadRight(cache, number, block, step)) Insert(cache, number);
    }
  };
  for (int round = 0; round < 4; ++round) {
    for (uint64_t number = 0; number < hot; ++number) read_frame(number);
  }
  for (uint64_t cold = 0; cold < 10 * capacity; ++cold) read_frame(1'000'000 + cold);
  Survivors survivors;
  for (uint64_t number = 0; number < hot; ++number) {
    survivors.cache += cache->Contains(KeyOf(number)) ? 1 : 0;
  }
  survivors.fifo = fifo.Survivors(hot);
  return survivors;
}

TEST_F(CleanCacheTest, AScanLeavesTheHotSetInRam) {
  for (const uint32_t step : {kFull, 1U}) {
    const auto cache = MustOpen({.directory = "", .ram_bytes = 16 * kMiB, .file_bytes = 0});
    const Survivors survivors = ScanPastHotSet(cache.get(), 120, 60, step);
    std::printf("RAM, scan in pieces of %u: %lu of 60 hot frames stay (plain FIFO: %zu)\n", step,
                survivors.cache, survivors.fifo);
    EXPECT_EQ(survivors.cache, 60U);
    EXPECT_EQ(survivors.fifo, 0U);
  }
}

TEST_F(CleanCacheTest, AScanLeavesTheHotSetInTheFile) {
  for (const uint32_t step : {kFull, 1U}) {
    const auto cache = MustOpen(Config(0, 120 * uint64_t{kFrameBytesMax}));
    const Survivors survivors = ScanPastHotSet(cache.get(), 120, 60, step);
    std::printf("file, scan in pieces of %u: %lu of 60 hot frames stay (plain FIFO: %zu)\n", step,
                survivors.cache, survivors.fifo);
    EXPECT_EQ(survivors.cache, 60U);
    EXPECT_EQ(survivors.fifo, 0U);
    std::filesystem::remove_all(directory_);
  }
}

TEST_F(CleanCacheTest, FramesHotInRamStayInTheFile) {
  const uint64_t slots = 200;
  {
    const auto cache = MustOpen(Config(16 * kMiB, slots * kFrameBytesMax));
    // 60 frames: RAM serves all repeated reads, so the file tier sees none of them.
    static_cast<void>(ScanPastHotSet(cache.get(), slots, 60, kFull));
  }
  const auto cache = MustOpen(Config(0, slots * kFrameBytesMax));
  uint64_t survivors = 0;
  for (uint64_t number = 0; number < 60; ++number) {
    survivors += cache->Contains(KeyOf(number)) ? 1 : 0;
  }
  EXPECT_EQ(survivors, 60U);
}

TEST_F(CleanCacheTest, AFrameThatComesBackSoonIsKept) {
  const auto cache = MustOpen(Config(0, 100 * uint64_t{kFrameBytesMax}));
  for (uint64_t number = 0; number < 150; ++number) Insert(cache.get(), number);
  ASSERT_FALSE(cache->Contains(KeyOf(3))) << "evicted unread, and remembered as a ghost";
  Insert(cache.get(), 3);
  for (uint64_t number = 1000; number < 2000; ++number) Insert(cache.get(), number);
  EXPECT_TRUE(cache->Contains(KeyOf(3)));
}

TEST_F(CleanCacheTest, AHotFrameOfTheFileMovesToRam) {
  {
    const auto filled = MustOpen(Config(0, kMiB));
    Insert(filled.get(), 1);
  }
  const auto cache = MustOpen(Config(4 * kMiB, kMiB));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(ReadRight(cache.get(), 1, 0, kFull));
  Bytes out(kFrameBytesMax);
  EXPECT_TRUE(cache->ReadRam(KeyOf(1), 0, kFull, out.data()));
  EXPECT_EQ(out, ContentOf(1, 0, kFull));
}

// Threads read and insert few frames through much too small tiers; one of them damages the data
// file.
class ThreadsOnOneCache {
 public:
  static constexpr int kThreads = 4;
  static constexpr uint64_t kSlots = 12;

  ThreadsOnOneCache(CleanCache* cache, std::string data_path)
      : cache_(cache), data_path_(std::move(data_path)) {}

  void Run() {
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) threads.emplace_back([this, t] { Work(t); });
    for (std::thread& thread : threads) thread.join();
  }
  [[nodiscard]] uint64_t hits() const { return hits_.load(); }

 private:
  void Work(uint64_t thread) {
    std::mt19937_64 random(thread + 77);
    for (int i = 0; i < 6000; ++i) {
      const uint64_t number = random() % 8 < 5 ? random() % 6 : random() % 30;
      const auto first = static_cast<uint32_t>(random() % kFull);
      const auto count = static_cast<uint32_t>(1 + random() % (kFull - first));
      if (ReadRight(cache_, number, first, count)) {
        hits_.fetch_add(1);
      } else {
        Insert(cache_, number, first, count);
      }
      if (i % 64 == 0) static_cast<void>(cache_->Contains(KeyOf(number)));
      EXPECT_LE(cache_->stats().ram_bytes, kMiB);
      if (thread == 0 && i % 10 == 0) {
        CleanCacheTest::Damage(data_path_, random() % (kSlots * kFrameBytesMax));
      }
    }
  }

  CleanCache* cache_;
  std::string data_path_;
  std::atomic<uint64_t> hits_{0};
};

TEST_F(CleanCacheTest, ThreadsNeverSeeAWrongByte) {
  const auto cache = MustOpen(Config(kMiB, ThreadsOnOneCache::kSlots * kFrameBytesMax));
  ThreadsOnOneCache threads(cache.get(), data_path());
  threads.Run();
  const CleanCache::Stats stats = cache->stats();
  std::printf("threads: %lu hits (%lu RAM, %lu file), %lu misses, %lu damaged blocks noticed\n",
              threads.hits(), stats.ram_hits, stats.file_hits, stats.misses, stats.corrupt);
  EXPECT_EQ(stats.ram_hits + stats.file_hits, threads.hits());
  EXPECT_GT(stats.ram_hits, 100U);
  EXPECT_GT(stats.file_hits, 100U);
  EXPECT_GT(stats.corrupt, 0U);
}

}  // namespace
}  // namespace weir
