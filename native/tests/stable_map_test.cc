// Goal: the stable map always tells the committed state, whatever is loaded, evicted, captured or
//   restarted in between, and asks for a chunk only when it must.
// Method: random commits, loads, checkpoints (that fail, too), evictions and restarts run against a
//   plain array of block places plus the bucket's chunk payloads; after every step random blocks
//   are compared, kUnknown included, and the table of segments must hold exactly the live ones.
#include "engine/map/stable_map.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cerrno>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

namespace weir {
namespace {

constexpr uint32_t kFirstChunk = 62;  // the chunks under test lie on two pages of the state array
constexpr uint32_t kChunks = 5;
constexpr uint64_t kStart = uint64_t{kFirstChunk} * kChunkBlocks;
constexpr uint64_t kBlocks = uint64_t{kChunks} * kChunkBlocks;

struct BlockPlace {
  SegmentId segment;
  uint32_t offset = 0;
  uint8_t block = 0;
  bool operator==(const BlockPlace&) const = default;
};

SegmentId IdOf(uint64_t seq) {
  SegmentId id;
  id.volume.bytes[0] = static_cast<std::byte>(seq % 3);
  id.epoch = 7;
  id.seq = seq;
  return id;
}

// A segment index with random extents inside the range under test.
SegmentIndex RandomIndex(std::mt19937_64* random, uint64_t seq) {
  SegmentIndex index;
  index.header.id = IdOf(seq);
  const auto frames = static_cast<uint16_t>(1 + (*random)() % 4);
  for (uint16_t f = 0; f < frames; ++f) {
    index.frames.push_back({.offset = 4096 + f * 200'000U, .length = 5000, .blocks = 32});
  }
  std::set<std::pair<uint64_t, uint64_t>> taken;
  const uint64_t extents = 1 + (*random)() % 10;
  for (uint64_t i = 0; i < extents; ++i) {
    const uint64_t kind = (*random)() % 40;
    uint64_t count = 1 + (*random)() % 8;
    if (kind == 0) count = kChunkBlocks + (*random)() % kChunkBlocks;
    if (kind == 1) count = 500;
    uint64_t start = kStart + (*random)() % kBlocks;
    if (kind == 2) {
      start = kStart + (*random)() % kChunks * kChunkBlocks;
      count = kChunkBlocks;
    }
    count = std::min(count, kStart + kBlocks - start);
    bool overlaps = false;
    for (const auto& [from, to] : taken)
      overlaps = overlaps || (start < to && from < start + count);
    if (overlaps) continue;
    taken.emplace(start, start + count);
    const bool zero = kind < 8 || count > 8;
    index.extents.push_back(
        {.start_block = start,
         .block_count = static_cast<uint32_t>(count),
         .frame = static_cast<uint16_t>(zero ? 0 : (*random)() % frames),
         .block_in_frame = static_cast<uint8_t>(zero ? 0 : (*random)() % (33 - count)),
         .zero = zero});
  }
  return index;
}

// The committed state of every block, the bucket, and what memory must know of it.
struct Model {
  std::vector<std::optional<BlockPlace>> committed =
      std::vector<std::optional<BlockPlace>>(kBlocks);
  std::vector<bool> covered = std::vector<bool>(kBlocks);  // written since its chunk was unloaded
  std::map<uint32_t, std::vector<std::byte>> bucket;  // chunk payloads of the newest checkpoint
  std::vector<SegmentIndex> behind_checkpoint;

  void Apply(const SegmentIndex& index) {
    for (const SegmentExtent& extent : index.extents) {
      for (uint32_t i = 0; i < extent.block_count; ++i) {
        const uint64_t at = extent.start_block + i - kStart;
        covered[at] = true;
        committed[at].reset();
        if (extent.zero) continue;
        committed[at] = BlockPlace{index.header.id, index.frames[extent.frame].offset,
                                   static_cast<uint8_t>(extent.block_in_frame + i)};
      }
    }
  }
  void Unload(uint32_t chunk) {
    const auto from = covered.begin() + static_cast<long>(chunk - kFirstChunk) * kChunkBlocks;
    std::fill(from, from + kChunkBlocks, false);
  }
};

void ExpectBlock(StableMap* map, const Model& model, uint64_t block) {
  Extent found;
  uint32_t chunk = 0;
  const uint64_t limit = block + 40;
  const StableMap::Lookup lookup = map->Find(block, limit, &found, &chunk);
  ASSERT_EQ(chunk, block / kChunkBlocks);
  ASSERT_EQ(found.start, block);
  ASSERT_GE(found.count, 1U);
  ASSERT_LE(found.end(), std::min<uint64_t>(limit, uint64_t{chunk + 1} * kChunkBlocks));
  for (uint64_t i = 0; i < found.count && block + i < kStart + kBlocks; ++i) {
    const std::optional<BlockPlace>& expected = model.committed[block + i - kStart];
    if (lookup == StableMap::Lookup::kUnknown) {
      ASSERT_FALSE(map->loaded(chunk));
      ASSERT_TRUE(model.bucket.contains(chunk));
      ASSERT_FALSE(model.covered[block + i - kStart]) << block + i;
    } else if (lookup == StableMap::Lookup::kZero) {
      ASSERT_FALSE(expected.has_value()) << block + i;
    } else {
      const BlockPlace place{map->segments().at(found.frame.segment), found.frame.offset,
                             static_cast<uint8_t>(found.frame.block + i)};
      ASSERT_EQ(expected, place) << block + i;
    }
  }
}

// Distinct segments among the blocks that are in memory.
size_t LiveSegments(const StableMap& map, const Model& model) {
  std::set<SegmentId> live;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const auto chunk = static_cast<uint32_t>(kFirstChunk + i / kChunkBlocks);
    if ((map.loaded(chunk) || model.covered[i]) && model.committed[i]) {
      live.insert(model.committed[i]->segment);
    }
  }
  return live.size();
}

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed), map_(Open()) {}

  void Step() {
    const uint64_t kind = random_() % 100;
    if (kind < 55) {
      Commit();
    } else if (kind < 75) {
      Load(kFirstChunk + static_cast<uint32_t>(random_() % kChunks));
    } else if (kind < 85) {
      EndCheckpoint(random_() % 4 != 0);
    } else if (kind < 90) {
      BeginCheckpoint();
    } else if (kind < 98) {
      Evict();
    } else {
      Restart();
    }
  }

  void ExpectAgreement(int blocks) {
    for (int i = 0; i < blocks; ++i) {
      ExpectBlock(map_.get(), model_, kStart + random_() % kBlocks);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  void ExpectExactSegments() { ASSERT_EQ(map_->segments().size(), LiveSegments(*map_, model_)); }
  [[nodiscard]] uint64_t evicted() const { return evicted_; }
  [[nodiscard]] uint64_t checkpoints() const { return checkpoints_; }

 private:
  std::unique_ptr<StableMap> Open() {
    std::vector<uint32_t> base;
    for (const auto& [chunk, payload] : model_.bucket) base.push_back(chunk);
    return std::make_unique<StableMap>(base);
  }

  void Commit() {
    const SegmentIndex index = RandomIndex(&random_, ++seq_);
    map_->Apply(index.header.id, index);
    model_.Apply(index);
    model_.behind_checkpoint.push_back(index);
  }

  void Load(uint32_t chunk) {
    const auto payload = model_.bucket.find(chunk);
    if (payload == model_.bucket.end()) return;
    ASSERT_TRUE(map_->LoadChunk(chunk, payload->second).ok());
    ASSERT_TRUE(map_->loaded(chunk));
  }

  // A checkpoint that is never ended counts as failed.
  void BeginCheckpoint() {
    captured_.clear();
    captured_position_ = model_.behind_checkpoint.size();
    for (const uint32_t chunk : map_->changed_chunks()) {
      if (!map_->loaded(chunk)) Load(chunk);
      const ChunkImage image = map_->Capture(chunk);
      captured_[chunk] = image.extents.empty() ? std::vector<std::byte>() : EncodeChunk(image, 1);
    }
    under_way_ = true;
  }

  void EndCheckpoint(bool success) {
    if (!under_way_) BeginCheckpoint();
    under_way_ = false;
    if (!success) return;
    std::vector<uint32_t> chunks;
    for (auto& [chunk, payload] : captured_) {
      chunks.push_back(chunk);
      if (payload.empty()) {
        model_.bucket.erase(chunk);
      } else {
        model_.bucket[chunk] = std::move(payload);
      }
    }
    map_->CheckpointDone(chunks);
    const auto from = model_.behind_checkpoint.begin();
    model_.behind_checkpoint.erase(from, from + static_cast<long>(captured_position_));
    ++checkpoints_;
  }

  void Evict() {
    std::set<uint32_t> complete;
    for (uint32_t c = 0; c < kChunks; ++c) {
      if (map_->loaded(kFirstChunk + c)) complete.insert(kFirstChunk + c);
    }
    map_->Evict(random_() % 2 == 0 ? 0 : map_->memory_bytes() * 3 / 4);
    for (const uint32_t chunk : complete) {
      if (map_->loaded(chunk)) continue;
      ++evicted_;
      model_.Unload(chunk);
    }
  }

  // As after a crash: the newest checkpoint, then the segments behind it.
  void Restart() {
    under_way_ = false;
    map_ = Open();
    for (uint32_t c = 0; c < kChunks; ++c) model_.Unload(kFirstChunk + c);
    for (const SegmentIndex& index : model_.behind_checkpoint) {
      map_->Apply(index.header.id, index);
      model_.Apply(index);
    }
  }

  std::mt19937_64 random_;
  Model model_;
  std::unique_ptr<StableMap> map_;
  uint64_t seq_ = 0;
  bool under_way_ = false;
  std::map<uint32_t, std::vector<std::byte>> captured_;
  size_t captured_position_ = 0;
  uint64_t evicted_ = 0;
  uint64_t checkpoints_ = 0;
};

class StableMapSimulation : public testing::TestWithParam<uint64_t> {};

TEST_P(StableMapSimulation, AlwaysTellsTheCommittedState) {
  Simulation simulation(GetParam());
  for (int step = 0; step < 3000; ++step) {
    simulation.Step();
    simulation.ExpectAgreement(20);
    if (step % 50 == 0) simulation.ExpectExactSegments();
    if (HasFatalFailure()) FAIL() << "step " << step;
  }
  simulation.ExpectAgreement(100'000);
  EXPECT_GT(simulation.evicted(), 50U);
  EXPECT_GT(simulation.checkpoints(), 100U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, StableMapSimulation, testing::Range<uint64_t>(1, 9));

SegmentIndex OneExtent(uint64_t seq, uint64_t start, uint32_t count, bool zero) {
  SegmentIndex index;
  index.header.id = IdOf(seq);
  if (!zero) index.frames.push_back({.offset = 4096, .length = 5000, .blocks = 32});
  index.extents.push_back({.start_block = start, .block_count = count, .zero = zero});
  return index;
}

void ApplyOne(StableMap* map, uint64_t seq, uint64_t start, uint32_t count, bool zero = false) {
  const SegmentIndex index = OneExtent(seq, start, count, zero);
  map->Apply(index.header.id, index);
}

StableMap::Lookup LookUp(StableMap* map, uint64_t block) {
  Extent found;
  uint32_t chunk = 0;
  return map->Find(block, block + 1, &found, &chunk);
}

// The payload of `chunk` with `count` blocks from its start in segment `seq`.
std::vector<std::byte> Payload(uint32_t chunk, uint64_t seq, uint32_t count) {
  StableMap map({});
  ApplyOne(&map, seq, uint64_t{chunk} * kChunkBlocks, count);
  return EncodeChunk(map.Capture(chunk), 1);
}

using Chunks = std::vector<uint32_t>;

TEST(StableMapTest, CommitsOverAnUnloadedChunkHideItsBase) {
  StableMap map(Chunks{3});
  const uint64_t start = 3ULL * kChunkBlocks;
  EXPECT_EQ(LookUp(&map, start), StableMap::Lookup::kUnknown);
  EXPECT_EQ(LookUp(&map, start - 1), StableMap::Lookup::kZero);
  ApplyOne(&map, 2, start, 1);
  ApplyOne(&map, 3, start + 1, 1, true);
  EXPECT_EQ(LookUp(&map, start), StableMap::Lookup::kFrame);
  EXPECT_EQ(LookUp(&map, start + 1), StableMap::Lookup::kZero);
  EXPECT_EQ(LookUp(&map, start + 2), StableMap::Lookup::kUnknown);
  ASSERT_TRUE(map.LoadChunk(3, Payload(3, 1, 4)).ok());
  EXPECT_EQ(LookUp(&map, start + 1), StableMap::Lookup::kZero);
  EXPECT_EQ(LookUp(&map, start + 2), StableMap::Lookup::kFrame);
  EXPECT_EQ(map.extent_count(), 2U) << "the zero entry is gone once the base is loaded";
}

TEST(StableMapTest, DiscardingAnEmptyVolumeLeavesNoTrace) {
  StableMap map({});
  ApplyOne(&map, 1, 0, UINT32_MAX, true);
  EXPECT_TRUE(map.changed_chunks().empty());
  EXPECT_EQ(map.extent_count(), 0U);
  EXPECT_EQ(map.segments().size(), 0U);
}

TEST(StableMapTest, ZeroingAWholeUnloadedChunkNeedsNoLoad) {
  StableMap map(Chunks{0, 1});
  ApplyOne(&map, 1, 0, kChunkBlocks, true);
  EXPECT_EQ(LookUp(&map, 5), StableMap::Lookup::kZero);
  EXPECT_TRUE(map.loaded(0));
  EXPECT_EQ(map.changed_chunks(), Chunks{0});
  EXPECT_TRUE(map.Capture(0).extents.empty());
  map.CheckpointDone(Chunks{0});
  EXPECT_TRUE(map.changed_chunks().empty());
  EXPECT_EQ(LookUp(&map, kChunkBlocks), StableMap::Lookup::kUnknown);
}

TEST(StableMapTest, AChunkCommittedToAfterCaptureStaysChanged) {
  StableMap map({});
  ApplyOne(&map, 1, 0, 1);
  static_cast<void>(map.Capture(0));
  ApplyOne(&map, 2, 1, 1);
  map.CheckpointDone(Chunks{0});
  EXPECT_EQ(map.changed_chunks(), Chunks{0});
  map.Evict(0);
  EXPECT_TRUE(map.loaded(0)) << "evicting it would lose the second commit";
  static_cast<void>(map.Capture(0));
  map.CheckpointDone(Chunks{0});
  map.Evict(0);
  EXPECT_FALSE(map.loaded(0));
  EXPECT_EQ(LookUp(&map, 0), StableMap::Lookup::kUnknown);
  EXPECT_EQ(map.segments().size(), 0U);
}

TEST(StableMapTest, EvictsTheLeastRecentlyLookedUpFirst) {
  StableMap map({});
  for (uint32_t chunk = 0; chunk < 4; ++chunk) {
    for (uint32_t i = 0; i < 100; ++i) {
      ApplyOne(&map, chunk * 1000 + i, uint64_t{chunk} * kChunkBlocks + i * 2ULL, 1);
    }
    static_cast<void>(map.Capture(chunk));
  }
  map.CheckpointDone(Chunks{0, 1, 2, 3});
  static_cast<void>(LookUp(&map, 0));
  static_cast<void>(LookUp(&map, 2ULL * kChunkBlocks));
  map.Evict(map.memory_bytes() - 1);
  EXPECT_FALSE(map.loaded(1));
  EXPECT_TRUE(map.loaded(0) && map.loaded(2) && map.loaded(3));
  map.Evict(map.memory_bytes() - 1);
  EXPECT_FALSE(map.loaded(3));
  EXPECT_TRUE(map.loaded(0) && map.loaded(2));
}

TEST(StableMapTest, RefusesAPayloadThatDoesNotVerify) {
  StableMap map(Chunks{3, 4});
  std::vector<std::byte> payload = Payload(3, 1, 4);
  EXPECT_EQ(map.LoadChunk(4, payload).error().code, EBADMSG) << "another chunk's payload";
  payload[20] ^= std::byte{1};
  EXPECT_EQ(map.LoadChunk(3, payload).error().code, EBADMSG);
  EXPECT_FALSE(map.loaded(3));
  EXPECT_EQ(map.segments().size(), 0U);
}

TEST(StableMapTest, LoadingALoadedChunkChangesNothing) {
  StableMap map(Chunks{3});
  ASSERT_TRUE(map.LoadChunk(3, Payload(3, 1, 4)).ok());
  ASSERT_TRUE(map.LoadChunk(3, Payload(3, 2, 8)).ok());
  Extent found;
  uint32_t chunk = 0;
  ASSERT_EQ(map.Find(3ULL * kChunkBlocks, kVolumeBlocksMax, &found, &chunk),
            StableMap::Lookup::kFrame);
  EXPECT_EQ(found.count, 4U);
  EXPECT_EQ(map.segments().at(found.frame.segment), IdOf(1));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their malloc does not tell
TEST(StableMapTest, MemoryIsWhatMallocHandedOut) {
  const auto held = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  // The first round fills malloc's own caches of freed pieces, which count as in use.
  for (int round = 0; round < 2; ++round) {
    const size_t before = held();
    StableMap map({});
    std::mt19937_64 random(5);
    for (uint64_t i = 0; i < 100'000; ++i) ApplyOne(&map, i, random() % (1U << 22), 1);
    const auto real = static_cast<double>(held() - before);
    if (round == 0) continue;
    EXPECT_NEAR(static_cast<double>(map.memory_bytes()), real, real / 100);
  }
}
#endif

TEST(SegmentTableTest, FollowsTheLiveSegmentsOnly) {
  SegmentTable table;
  std::mt19937_64 random(6);
  std::map<SegmentId, uint32_t> live;
  for (uint64_t i = 0; i < 200'000; ++i) {
    if (live.size() < 300 || random() % 2 == 0) {
      const SegmentId id = IdOf(i);
      const uint32_t ref = table.Intern(id);
      table.Retain(ref, 1 + i % 3);
      live.emplace(id, ref);
    } else {
      const auto victim = std::next(live.begin(), static_cast<long>(random() % 200));
      table.Release(victim->second, table.blocks(victim->second));
      live.erase(victim);
    }
    ASSERT_EQ(table.size(), live.size());
    const auto& [id, ref] =
        *std::next(live.begin(), static_cast<long>(random() % live.size() % 99));
    ASSERT_EQ(table.at(ref), id);
    ASSERT_EQ(table.Intern(id), ref);
  }
  while (live.size() > 10) {
    table.Release(live.begin()->second, table.blocks(live.begin()->second));
    live.erase(live.begin());
  }
  for (const auto& [id, ref] : live) EXPECT_EQ(table.Intern(id), ref);
}

}  // namespace
}  // namespace weir
