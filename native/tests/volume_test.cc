// Goal: a volume keeps I1-I3, I7 and I8 whatever comes in whatever order.
// Method: the real volume, journal, maps and cache over a bucket in memory; random operations are
// compared block by block with a plain array. Losing the process and losing the node are both
// played.
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <random>

#include "tests/support/volume_rig.h"

namespace weir::testing {
namespace {

std::shared_ptr<VolumeRig::Position> FreshPosition() {
  return std::make_shared<VolumeRig::Position>();
}

void ExpectModel(VolumeRig& rig, const std::vector<uint64_t>& model, const char* when) {
  constexpr uint32_t kStep = 64;
  for (uint64_t block = 0; block < model.size(); block += kStep) {
    Bytes data;
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(kStep, model.size() - block));
    ASSERT_EQ(rig.Read(block, count, &data), 0) << when;
    for (uint32_t i = 0; i < count; ++i) {
      ASSERT_EQ(StampOf(data, i), model[block + i]) << when << ", block " << block + i;
    }
  }
}

TEST(Volume, ReadsWhatWasWrittenAcrossUploadAndRestart) {
  const TempDirectory directory;
  const auto bucket = std::make_shared<FakeBucket>();
  const auto position = FreshPosition();
  {
    VolumeRig rig({.directory = directory.path() + "/j"}, bucket, position);
    ASSERT_EQ(rig.Write(5, Stamped(3, 11)), 0);
    ASSERT_EQ(rig.Flush(), 0);
    rig.UploadAll();
    ASSERT_EQ(rig.Write(6, Stamped(1, 12)), 0);
  }
  VolumeRig rig({.directory = directory.path() + "/j"}, bucket, position);
  Bytes data;
  ASSERT_EQ(rig.Read(4, 5, &data), 0);
  EXPECT_EQ(StampOf(data, 0), 0U);
  EXPECT_EQ(StampOf(data, 1), 11U);
  EXPECT_EQ(StampOf(data, 2), 12U);
  EXPECT_EQ(StampOf(data, 3), 11U);
  EXPECT_EQ(StampOf(data, 4), 0U);
  EXPECT_EQ(rig.Stats().dirty_bytes, kBlockBytes);
}

// The heart: 40 lives of one volume, each with random work, ending in a kill or in the loss of the
// node.
void RandomLives(uint32_t seed, const RigOptions& options, int lives) {
  std::mt19937 random(seed);
  const auto pick = [&](uint64_t below) { return random() % below; };
  const TempDirectory directory;
  const auto bucket = std::make_shared<FakeBucket>();
  const auto position = FreshPosition();
  std::vector<uint64_t> model(options.size_blocks);
  std::vector<uint64_t> committed(options.size_blocks);  // at the last upload of everything
  uint64_t stamp = 1;
  for (int life = 0; life < lives; ++life) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " life " << life);
    RigOptions here = options;
    here.directory = directory.path() + "/journal";
    std::optional<VolumeRig> process(std::in_place, here, bucket, position);
    VolumeRig& rig = *process;
    ExpectModel(rig, model, "after opening");
    for (int step = 0; step < 150; ++step) {
      const uint64_t block = pick(model.size() - 40);
      const auto count = static_cast<uint32_t>(1 + pick(pick(4) == 0 ? 40 : 3));
      switch (pick(12)) {
        case 0:
          ASSERT_EQ(rig.Zero(block, count), 0);
          std::fill_n(model.begin() + static_cast<long>(block), count, 0);
          break;
        case 1:
          ASSERT_EQ(options.flush_to_store ? 0 : rig.Flush(), 0);
          break;
        case 2:
          rig.Upload();
          break;
        case 3:
          if (pick(3) == 0) rig.Checkpoint();
          break;
        case 4: {
          Bytes data;
          ASSERT_EQ(rig.Read(block, count, &data), 0);
          for (uint32_t i = 0; i < count; ++i) ASSERT_EQ(StampOf(data, i), model[block + i]);
          break;
        }
        default:
          ASSERT_EQ(rig.Write(block, Stamped(count, stamp)), 0);
          std::fill_n(model.begin() + static_cast<long>(block), count, stamp++);
      }
    }
    if (pick(3) == 0) {
      rig.UploadAll();
      EXPECT_EQ(rig.Stats().dirty_bytes, 0U);
      committed = model;
    }
    ExpectModel(rig, model, "before closing");
    if (pick(4) == 0) {  // The node is lost: only what was committed remains.
      rig.UploadAll();
      committed = model;
      process.reset();  // it may be making a file in there
      std::filesystem::remove_all(here.directory);
      position->journal_end = 0;
    }
  }
}

TEST(Volume, RandomLivesMatchTheModel) {
  for (uint32_t seed = 1; seed <= 3; ++seed) RandomLives(seed, {.size_blocks = 5000}, 12);
}

TEST(Volume, RandomLivesWithASmallJournalAndNoCache) {
  RandomLives(11,
              {.size_blocks = 40'000,
               .cache_ram_bytes = 0,
               .journal_bytes = 12U << 20,
               .journal_file_bytes = 1U << 20,
               .batch_bytes = 1U << 18,
               .dirty_bytes_max = 1ULL << 30},
              10);
}

TEST(Volume, OverwritesBetweenUploadsAreUploadedOnce) {
  const TempDirectory directory;
  VolumeRig rig({.directory = directory.path()}, std::make_shared<FakeBucket>(), FreshPosition());
  for (uint64_t stamp = 1; stamp <= 2000; ++stamp) ASSERT_EQ(rig.Write(9, Stamped(1, stamp)), 0);
  EXPECT_EQ(rig.Stats().dirty_bytes, kBlockBytes);
  ASSERT_TRUE(rig.Upload());
  const auto indexes = rig.bucket->Indexes(0, 0);
  ASSERT_EQ(indexes.size(), 1U);
  ASSERT_EQ(indexes[0].extents.size(), 1U);
  EXPECT_EQ(indexes[0].extents[0].block_count, 1U);
  EXPECT_FALSE(rig.Upload());
  EXPECT_EQ(rig.Stats().dirty_bytes, 0U);
}

TEST(Volume, TellsOfWhatABatchLeftBehind) {
  const TempDirectory directory;
  VolumeRig rig({.directory = directory.path(), .batch_bytes = 4 * kBlockBytes},
                std::make_shared<FakeBucket>(), FreshPosition());
  for (uint64_t block = 0; block < 6; ++block) ASSERT_EQ(rig.Write(block, Stamped(1, block)), 0);
  const uint64_t before = rig.told_dirty;
  ASSERT_TRUE(rig.Upload());
  EXPECT_EQ(rig.Stats().dirty_bytes, 2 * kBlockBytes);
  EXPECT_EQ(rig.told_dirty, before + 1);
  ASSERT_TRUE(rig.Upload());
  EXPECT_EQ(rig.Stats().dirty_bytes, 0U);
  EXPECT_EQ(rig.told_dirty, before + 1);
}

TEST(Volume, AColdBlockCostsOneGetAndADamagedOneIsAnError) {
  const TempDirectory directory;
  const auto bucket = std::make_shared<FakeBucket>();
  const auto position = FreshPosition();
  {
    VolumeRig rig({.directory = directory.path() + "/a"}, bucket, position);
    for (uint64_t block = 0; block < 64; ++block)
      ASSERT_EQ(rig.Write(block, Stamped(1, block + 1)), 0);
    rig.UploadAll();
    rig.Checkpoint();
  }
  position->journal_end = 0;
  VolumeRig rig({.directory = directory.path() + "/b"}, bucket, position);
  Bytes data;
  ASSERT_EQ(rig.Read(3, 1, &data), 0);
  EXPECT_EQ(StampOf(data, 0), 4U);
  EXPECT_EQ(bucket->gets, 1U);
  ASSERT_EQ(rig.Read(4, 1, &data), 0);  // the same frame
  EXPECT_EQ(bucket->gets, 1U);
  const auto index = bucket->Indexes(0, 0).at(0);
  bucket->Damage(index.header.id, index.frames.at(1).offset + 100);
  EXPECT_EQ(rig.Read(40, 1, &data), -EIO);
  EXPECT_EQ(rig.Read(3, 1, &data), 0);
  bucket->down = true;
  EXPECT_EQ(rig.Read(41, 1, &data), -EIO);
}

TEST(Volume, FlushOfClassS3WaitsForTheCommit) {
  const TempDirectory directory;
  VolumeRig rig({.directory = directory.path(), .flush_to_store = true},
                std::make_shared<FakeBucket>(), FreshPosition());
  ASSERT_EQ(rig.Write(1, Stamped(1, 5)), 0);
  auto flush = std::async(std::launch::async, [&] { return rig.Flush(); });
  while (rig.Stats().flushes == 0) std::this_thread::yield();
  EXPECT_EQ(flush.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  ASSERT_TRUE(rig.Upload());
  EXPECT_EQ(flush.get(), 0);
}

TEST(Volume, WritesAreHeldAtTheBoundAndGoOnAfterACommit) {
  const TempDirectory directory;
  VolumeRig rig({.directory = directory.path(), .dirty_bytes_max = 4U << 20},
                std::make_shared<FakeBucket>(), FreshPosition());
  auto writer = std::async(std::launch::async, [&] {
    for (uint64_t block = 0; block < 2048; ++block) {
      if (rig.Write(block, Stamped(1, block + 1)) != 0) return false;
    }
    return true;
  });
  while (rig.Stats().held == 0) std::this_thread::yield();
  EXPECT_LE(rig.Stats().dirty_bytes, 4U << 20);
  while (writer.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) rig.Upload();
  EXPECT_TRUE(writer.get());
}

// The answer to a write comes before the map knows of it; whoever submits the next request from
// inside that answer must not see the older block (I2).
TEST(Volume, ARequestSubmittedFromInsideAnAnswerSeesTheWrite) {
  struct Client final : IoOwner {
    void OnIoDone(IoRequest* request, int result) override {
      EXPECT_EQ(result, 0);
      if (request == &write) {
        // Answered inside Submit(), as the block is in the journal.
        volume->Submit(&read);
        EXPECT_TRUE(read_done);
        volume->Submit(&over);
      } else if (request == &read) {
        read_done = true;
        seen = data;
      } else {
        finished.set_value();
      }
    }
    Volume* volume = nullptr;
    Bytes first = Stamped(1, 21), second = Stamped(1, 22), data = Bytes(kBlockBytes);
    Bytes seen;
    IoRequest write{.op = IoOp::kWrite,
                    .offset_bytes = 7 * kBlockBytes,
                    .length_bytes = kBlockBytes,
                    .data = first.data(),
                    .owner = this};
    IoRequest read{.op = IoOp::kRead,
                   .offset_bytes = 7 * kBlockBytes,
                   .length_bytes = kBlockBytes,
                   .data = data.data(),
                   .owner = this};
    IoRequest over{.op = IoOp::kWrite,
                   .offset_bytes = 7 * kBlockBytes,
                   .length_bytes = kBlockBytes,
                   .data = second.data(),
                   .owner = this};
    bool read_done = false;
    std::promise<void> finished;
  } client;
  const TempDirectory directory;
  VolumeRig rig({.directory = directory.path()}, std::make_shared<FakeBucket>(), FreshPosition());
  ASSERT_EQ(rig.Write(7, Stamped(1, 20)), 0);
  rig.On([&](VolumeServer& at) {
    client.volume = &at.volume();
    client.volume->Submit(&client.write);
  });
  // A write that was submitted at a round's end is committed at the next one's.
  rig.On([](VolumeServer&) {});
  client.finished.get_future().wait();
  EXPECT_EQ(StampOf(client.seen, 0), 21U);
  Bytes data;
  ASSERT_EQ(rig.Read(7, 1, &data), 0);
  EXPECT_EQ(StampOf(data, 0), 22U);
  EXPECT_EQ(rig.Stats().dirty_bytes, kBlockBytes);
}

TEST(Volume, AFailedVolumeAnswersEio) {
  const TempDirectory directory;
  VolumeRig rig({.directory = directory.path()}, std::make_shared<FakeBucket>(), FreshPosition());
  ASSERT_EQ(rig.Write(1, Stamped(1, 5)), 0);
  rig.FailVolume();
  Bytes data;
  EXPECT_EQ(rig.Write(1, Stamped(1, 6)), -EIO);
  EXPECT_EQ(rig.Read(1, 1, &data), -EIO);
  EXPECT_EQ(rig.Flush(), -EIO);
}

TEST(Volume, GrowthSurvivesRestartAndTravelsInTheSegment) {
  const TempDirectory directory;
  const auto bucket = std::make_shared<FakeBucket>();
  const auto position = FreshPosition();
  {
    VolumeRig rig({.directory = directory.path(), .size_blocks = 100}, bucket, position);
    ASSERT_TRUE(rig.Grow(200).ok());
    EXPECT_EQ(rig.Stats().size_bytes, 200U * kBlockBytes);
  }
  VolumeRig rig({.directory = directory.path(), .size_blocks = 100}, bucket, position);
  EXPECT_EQ(rig.Stats().size_bytes, 200U * kBlockBytes);
  ASSERT_TRUE(rig.Upload());
  EXPECT_EQ(position->blocks, 200U);
}

}  // namespace
}  // namespace weir::testing
