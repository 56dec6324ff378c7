// Goal: the extent map is a plain array of places that happens to be small and fast.
// Method: random operations run against such an array; after every one, the pieces reported as
//   replaced or removed must be exactly what the array held, and Find() must agree; every two
//   thousand, the whole map, and its extent count against the fewest extents that can say the same.
//   Memory is compared with what malloc really handed out and with the bar of 24 bytes per extent.
#include "engine/map/extent_map.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>
#include <ctime>
#include <optional>
#include <random>
#include <vector>

#include "engine/journal/journal.h"

namespace weir {
namespace {

constexpr uint64_t kBase = 5ULL * kChunkBlocks - 700;  // the range under test begins inside a chunk
constexpr uint64_t kBlocks = 3 * kChunkBlocks + 1234;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// The place of one block: an extent of one block without its position.
struct Place {
  PlaceKind kind = PlaceKind::kZero;
  uint64_t journal = 0;
  FramePlace frame;
  bool operator==(const Place&) const = default;
};

Place PlaceAt(const Extent& extent, uint64_t block) {
  const uint64_t skipped = block - extent.start;
  const Extent piece = skipped == 0 ? extent : extent.Tail(skipped);
  return {piece.kind, piece.journal.value, piece.frame};
}

bool Continues(const Place& a, const Place& b) {
  if (a.kind != b.kind) return false;
  if (a.kind == PlaceKind::kZero) return a.journal == b.journal;
  if (a.kind == PlaceKind::kJournal) {
    return a.journal >> 32 == b.journal >> 32 && a.journal + kJournalBlockStride == b.journal;
  }
  FramePlace next = a.frame;
  ++next.block;
  return next == b.frame;
}

// The plain array; index 0 is block kBase.
class Model {
 public:
  Model() : places_(kBlocks) {}

  void Assign(const Extent& extent) {
    for (uint64_t b = extent.start; b < extent.end(); ++b) places_[b - kBase] = PlaceAt(extent, b);
  }
  void Erase(uint64_t start, uint64_t count) {
    for (uint64_t b = start; b < start + count; ++b) places_[b - kBase].reset();
  }
  [[nodiscard]] const std::optional<Place>& at(uint64_t block) const {
    return places_[block - kBase];
  }

  // Whether `pieces` say exactly what [start, start + count) holds, in ascending order.
  [[nodiscard]] bool Matches(uint64_t start, uint64_t count,
                             const std::vector<Extent>& pieces) const {
    uint64_t block = start;
    for (const Extent& piece : pieces) {
      if (piece.count == 0 || piece.start < block || piece.end() > start + count) return false;
      for (; block < piece.start; ++block) {
        if (at(block)) return false;
      }
      for (; block < piece.end(); ++block) {
        if (at(block) != PlaceAt(piece, block)) return false;
      }
    }
    for (; block < start + count; ++block) {
      if (at(block)) return false;
    }
    return true;
  }

  [[nodiscard]] uint64_t FewestExtents() const {
    uint64_t extents = 0;
    for (uint64_t i = 0; i < kBlocks; ++i) {
      if (!places_[i]) continue;
      const bool joined = i > 0 && places_[i - 1] && (kBase + i) % kChunkBlocks != 0 &&
                          Continues(*places_[i - 1], *places_[i]);
      if (!joined) ++extents;
    }
    return extents;
  }
  [[nodiscard]] uint64_t Covered() const {
    uint64_t covered = 0;
    for (const auto& place : places_) covered += place.has_value() ? 1 : 0;
    return covered;
  }

 private:
  std::vector<std::optional<Place>> places_;
};

std::vector<Extent> Collect(const ExtentMap& map, uint64_t start, uint64_t count) {
  std::vector<Extent> pieces;
  map.Visit(start, count, [&pieces](const Extent& piece) { pieces.push_back(piece); });
  return pieces;
}

Extent JournalExtent(uint64_t start, uint64_t count, uint32_t file, uint32_t offset) {
  return {.start = start,
          .count = count,
          .kind = PlaceKind::kJournal,
          .journal = JournalAddr::Of(file, offset),
          .frame = {}};
}

Extent FrameExtent(uint64_t start, uint64_t count, const FramePlace& frame) {
  return {.start = start, .count = count, .kind = PlaceKind::kFrame, .journal = {}, .frame = frame};
}

// Draws the operations: mostly short, often continuing the one before, sometimes across chunks.
class Operations {
 public:
  // Odd seeds keep to short ranges, so that chunks fill with thousands of extents.
  explicit Operations(uint64_t seed) : random_(seed), only_short_(seed % 2 == 1) {}

  [[nodiscard]] uint64_t Below(uint64_t limit) { return random_() % limit; }

  void DrawRange(uint64_t* start, uint64_t* count) {
    const uint64_t kind = Below(100);
    *count = kind < 60 ? 1 : kind < 97 ? 1 + Below(40) : kind < 99 ? 1 + Below(3000) : kBlocks;
    *start = kBase + Below(kBlocks);
    if (Below(4) == 0) *start = last_end_;
    if (*start >= kBase + kBlocks) *start = kBase;
    *count = std::min(*count, kBase + kBlocks - *start);
    if (kind >= 97 && (only_short_ || (kind == 99 && Below(20) != 0))) *count = 1;
    last_end_ = *start + *count;
  }

  Extent DrawExtent() {
    Extent extent;
    DrawRange(&extent.start, &extent.count);
    const uint64_t kind = Below(10);
    if (kind < 5) {
      if (Below(3) == 0) tail_ = uint64_t{Below(4)} << 32 | Below(1000) * 4096;
      extent = JournalExtent(extent.start, extent.count, static_cast<uint32_t>(tail_ >> 32),
                             static_cast<uint32_t>(tail_));
      tail_ += extent.count * kJournalBlockStride;
    } else if (kind < 9) {
      extent.count = std::min<uint64_t>(extent.count, 1 + Below(32));
      extent = FrameExtent(extent.start, extent.count, DrawFrame(extent.count));
    } else {
      extent.kind = PlaceKind::kZero;
      extent.journal.value = Below(3);
    }
    return extent;
  }

 private:
  FramePlace DrawFrame(uint64_t count) {
    const uint64_t frames = 3;  // few, so that neighbours often continue each other
    FramePlace frame{.segment = static_cast<uint32_t>(Below(2)) * 0xffffffffU,
                     .offset = static_cast<uint32_t>(0xfffffff0U - Below(frames)),
                     .length = kFrameBytesMax + 32,
                     .block = 0,
                     .frame_blocks = kFrameBlocksMax};
    const uint64_t room = kFrameBlocksMax - count;
    const bool follow = Below(2) == 0 && frame_next_ <= room;
    frame.block = static_cast<uint8_t>(follow ? frame_next_ : Below(room + 1));
    frame_next_ = frame.block + count;
    return frame;
  }

  std::mt19937_64 random_;
  bool only_short_;
  uint64_t last_end_ = kBase;
  uint64_t tail_ = 0;
  uint64_t frame_next_ = 0;
};

// Find() from `block` must tell the piece the model has there, or where the hole ends.
void ExpectFind(const ExtentMap& map, const Model& model, uint64_t block, uint64_t limit) {
  Extent found;
  uint64_t hole_end = 0;
  if (map.Find(block, limit, &found, &hole_end)) {
    ASSERT_EQ(found.start, block);
    ASSERT_LE(found.end(), limit);
    ASSERT_TRUE(model.Matches(block, found.count, {found})) << block;
    return;
  }
  ASSERT_GT(hole_end, block);
  ASSERT_LE(hole_end, limit);
  ASSERT_TRUE(model.Matches(block, hole_end - block, {})) << block;
  ASSERT_TRUE(hole_end == limit || model.at(hole_end).has_value()) << block;
}

class RandomOperations : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomOperations, AgreeWithAPlainArray) {
  Operations operations(GetParam());
  ExtentMap map;
  Model model;
  constexpr int kOperations = 120'000;
  for (int i = 0; i < kOperations; ++i) {
    std::vector<Extent> seen;
    const auto see = [&seen](const Extent& piece) { seen.push_back(piece); };
    uint64_t start = 0;
    uint64_t count = 0;
    if (operations.Below(10) < 8) {
      const Extent extent = operations.DrawExtent();
      start = extent.start;
      count = extent.count;
      map.Assign(extent, see);
      ASSERT_TRUE(model.Matches(start, count, seen)) << "replaced, operation " << i;
      model.Assign(extent);
    } else {
      operations.DrawRange(&start, &count);
      map.Erase(start, count, see);
      ASSERT_TRUE(model.Matches(start, count, seen)) << "removed, operation " << i;
      model.Erase(start, count);
    }
    const uint64_t block = kBase + operations.Below(kBlocks);
    ExpectFind(map, model, block, block + 1 + operations.Below(kBase + kBlocks - block));
    ExpectFind(map, model, start, start + count);
    if (HasFatalFailure()) return;
    if (i % 2000 != 0 && i != kOperations - 1) continue;
    ASSERT_TRUE(model.Matches(kBase, kBlocks, Collect(map, kBase, kBlocks))) << "operation " << i;
    ASSERT_EQ(map.extent_count(), model.FewestExtents()) << "operation " << i;
    ASSERT_EQ(map.block_count(), model.Covered()) << "operation " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomOperations, testing::Values(1, 2, 3, 4));

TEST(ExtentMapOracle, NoticesOneWrongBlock) {
  Model model;
  ExtentMap map;
  const Extent written = JournalExtent(kBase + 10, 100, 1, 4096);
  model.Assign(written);
  map.Assign(written);
  ASSERT_TRUE(model.Matches(kBase, kBlocks, Collect(map, kBase, kBlocks)));
  map.Assign(JournalExtent(kBase + 50, 1, 1, 4096 + 40 * kJournalBlockStride + 1));
  EXPECT_FALSE(model.Matches(kBase, kBlocks, Collect(map, kBase, kBlocks)));
  map.Assign(written);
  map.Erase(kBase + 109, 1);
  EXPECT_FALSE(model.Matches(kBase, kBlocks, Collect(map, kBase, kBlocks)));
}

TEST(ExtentMapTest, AnEmptyMapIsOneHole) {
  const ExtentMap map;
  Extent found;
  uint64_t hole_end = 0;
  EXPECT_FALSE(map.Find(0, kVolumeBlocksMax, &found, &hole_end));
  EXPECT_EQ(hole_end, kVolumeBlocksMax);
  EXPECT_TRUE(Collect(map, 0, kVolumeBlocksMax).empty());
}

TEST(ExtentMapTest, HolesEndAtTheNextPieceEvenChunksAway) {
  ExtentMap map;
  const uint64_t far = 9999ULL * kChunkBlocks + 5;
  map.Assign(JournalExtent(far, 1, 1, 0));
  Extent found;
  uint64_t hole_end = 0;
  EXPECT_FALSE(map.Find(3, kVolumeBlocksMax, &found, &hole_end));
  EXPECT_EQ(hole_end, far);
  EXPECT_FALSE(map.Find(3, far - 1, &found, &hole_end));
  EXPECT_EQ(hole_end, far - 1);
  const uint64_t border = 20ULL * kChunkBlocks;
  map.Assign(JournalExtent(border, 1, 1, 0));
  EXPECT_FALSE(map.Find(border - 1, kVolumeBlocksMax, &found, &hole_end));
  EXPECT_EQ(hole_end, border);
}

TEST(ExtentMapTest, TheLastBlockOfTheLargestVolumeIsUsable) {
  ExtentMap map;
  map.Assign(JournalExtent(kVolumeBlocksMax - 2, 2, 7, 64));
  Extent found;
  uint64_t hole_end = 0;
  ASSERT_TRUE(map.Find(kVolumeBlocksMax - 1, kVolumeBlocksMax, &found, &hole_end));
  EXPECT_EQ(found.journal, JournalAddr::Of(7, 64 + kJournalBlockStride));
  map.Erase(0, kVolumeBlocksMax);
  EXPECT_EQ(map.extent_count(), 0U);
}

TEST(ExtentMapTest, ZeroesKeepTheirAddressAndMergeOnlyWhenItIsEqual) {
  ExtentMap map;
  const auto zeroes = [](uint64_t start, uint64_t record) {
    return Extent{.start = start,
                  .count = 10,
                  .kind = PlaceKind::kZero,
                  .journal = JournalAddr{record},
                  .frame = {}};
  };
  map.Assign(zeroes(0, 5));
  map.Assign(zeroes(20, 6));
  map.Assign(zeroes(10, 5));
  EXPECT_EQ(map.extent_count(), 2U);
  Extent found;
  uint64_t hole_end = 0;
  ASSERT_TRUE(map.Find(13, 100, &found, &hole_end));
  EXPECT_EQ(found.journal.value, 5U);
  EXPECT_EQ(found.count, 7U);
}

TEST(ExtentMapTest, JournalPiecesOfTwoFilesNeverMerge) {
  ExtentMap map;
  // Read as one number, the second address follows the first.
  map.Assign(JournalExtent(0, 1, 1, 0U - kJournalBlockStride));
  map.Assign(JournalExtent(1, 1, 2, 0));
  EXPECT_EQ(map.extent_count(), 2U);
}

// The short way for it must not leave neighbours apart that continue each other.
TEST(ExtentMapTest, AnExtentThatReplacesOneOfItsOwnRangeJoinsItsNeighbours) {
  const auto journal = [](uint64_t start, uint32_t offset) {
    return Extent{.start = start,
                  .count = 1,
                  .kind = PlaceKind::kJournal,
                  .journal = JournalAddr::Of(1, offset),
                  .frame = {}};
  };
  constexpr uint32_t kFar = 1U << 20;
  for (const bool left : {false, true}) {
    for (const bool right : {false, true}) {
      ExtentMap map;
      map.Assign(journal(10, left ? 0 : 3 * kFar));
      map.Assign(journal(11, kFar));
      map.Assign(journal(12, right ? 2 * kJournalBlockStride : 5 * kFar));
      EXPECT_EQ(map.extent_count(), 3U);
      uint64_t replaced = 0;
      map.Assign(journal(11, kJournalBlockStride),
                 [&](const Extent& old) { replaced += old.journal.offset(); });
      EXPECT_EQ(replaced, kFar);
      EXPECT_EQ(map.extent_count(), 3U - (left ? 1 : 0) - (right ? 1 : 0));
      EXPECT_EQ(map.block_count(), 3U);
      Extent found;
      uint64_t hole_end = 0;
      ASSERT_TRUE(map.Find(11, 12, &found, &hole_end));
      EXPECT_EQ(found.journal.offset(), kJournalBlockStride);
    }
  }
}

TEST(ExtentMapTest, ErasingEverythingGivesTheMemoryBack) {
  ExtentMap map;
  std::mt19937_64 random(3);
  for (int i = 0; i < 50'000; ++i) {
    map.Assign(JournalExtent(random() % (1U << 20), 1, 1, static_cast<uint32_t>(random())));
  }
  map.Erase(0, kVolumeBlocksMax);
  EXPECT_EQ(map.block_count(), 0U);
  EXPECT_LE(map.memory_bytes(), 512U);
}

TEST(ExtentMapTest, ZeroingTenTebibytesIsCheap) {
  ExtentMap map;
  const uint64_t blocks = (10ULL << 40) / kBlockBytes;
  map.Assign({.start = 0, .count = blocks, .kind = PlaceKind::kZero, .journal = {}, .frame = {}});
  EXPECT_EQ(map.extent_count(), blocks / kChunkBlocks);
  std::printf("10 TiB of zeroes: %lu KiB\n", map.memory_bytes() >> 10);
  EXPECT_LE(map.memory_bytes(), 24U << 20);
}

uint64_t MallocBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Fill {
  const char* name;
  uint64_t volume_gib;
  uint64_t extents;
};

void PrintTo(const Fill& fill, std::ostream* out) { *out << fill.name; }

class Memory : public testing::TestWithParam<Fill> {};

// Distinct random blocks, none of which continues its neighbour.
TEST_P(Memory, IsAtMost24BytesPerRandomExtent) {
  const Fill fill = GetParam();
  const uint64_t blocks = fill.volume_gib << 18;
  const uint64_t before = MallocBytes();
  ExtentMap map;
  std::mt19937_64 random(7);
  uint64_t stamp = 0;
  // At 100 % every block once, in an order that is a permutation; below that, drawn until enough.
  for (uint64_t i = 0; fill.extents == blocks && i < blocks; ++i) {
    map.Assign(JournalExtent(i * 0x9e3779b1U % blocks, 1, 1, static_cast<uint32_t>(++stamp * 8)));
  }
  while (map.extent_count() < fill.extents) {
    map.Assign(JournalExtent(random() % blocks, 1, 1, static_cast<uint32_t>(++stamp * 8)));
  }
  const uint64_t held = MallocBytes() - before;
  const double each = static_cast<double>(map.memory_bytes()) / static_cast<double>(fill.extents);
  Extent found;
  uint64_t hole_end = 0;
  uint64_t hits = 0;
  const std::clock_t from = std::clock();
  constexpr uint64_t kLookups = 400'000;
  for (uint64_t i = 0; i < kLookups; ++i) {
    const uint64_t block = random() % blocks;
    hits += map.Find(block, block + 1, &found, &hole_end) ? 1 : 0;
  }
  const double took = static_cast<double>(std::clock() - from) * 1e9 / CLOCKS_PER_SEC;
  std::printf("%-34s %8lu extents, %5.2f bytes each; random Find() %.0f ns (%lu %% hits)\n",
              fill.name, map.extent_count(), each, took / kLookups, hits * 100 / kLookups);
  EXPECT_EQ(map.extent_count(), fill.extents);
  EXPECT_LE(each, 24.0);
  if (!kSanitized) {
    EXPECT_NEAR(static_cast<double>(held), static_cast<double>(map.memory_bytes()),
                static_cast<double>(held) / 100);
  }
}

INSTANTIATE_TEST_SUITE_P(Fills, Memory,
                         testing::Values(Fill{"4 GiB, 262,144 extents (25 %)", 4, 262'144},
                                         Fill{"100 GiB, 262,144 extents (1 %)", 100, 262'144},
                                         Fill{"100 GiB, 22 %", 100, 5'767'168},
                                         Fill{"4 GiB, 22 %", 4, 230'686},
                                         Fill{"4 GiB, 100 %", 4, 1U << 20}));

// What is left of full leaves is merged and shrunk.
TEST(ExtentMapMemory, FollowsTheExtentsDownAgain) {
  ExtentMap map;
  constexpr uint64_t kRange = 1U << 18;
  for (uint32_t block = 0; block < kRange; ++block) map.Assign(JournalExtent(block, 1, 1, block));
  for (uint64_t block = 0; block < kRange; block += 64) map.Erase(block + 1, 63);
  const double each =
      static_cast<double>(map.memory_bytes()) / static_cast<double>(map.extent_count());
  std::printf("after erasing 63 of 64: %lu extents, %.2f bytes each\n", map.extent_count(), each);
  EXPECT_EQ(map.extent_count(), kRange / 64);
  EXPECT_LE(each, 24.0);
}

TEST(ExtentMapMemory, StaysInBoundsUnderLongRandomOverwritesAndErases) {
  ExtentMap map;
  std::mt19937_64 random(11);
  constexpr uint64_t kRange = 1U << 18;
  for (uint32_t i = 0; i < 600'000; ++i) {
    const uint64_t block = random() % kRange;
    if (i % 3 == 0) {
      map.Erase(block, 1 + random() % 3);
    } else {
      map.Assign(JournalExtent(block, 1, 1, i * 8));
    }
  }
  const double each =
      static_cast<double>(map.memory_bytes()) / static_cast<double>(map.extent_count());
  std::printf("after overwrites and erases: %lu extents, %.2f bytes each\n", map.extent_count(),
              each);
  EXPECT_LE(each, 24.0);
}

}  // namespace
}  // namespace weir
