// Goal: a volume that reads another's journal along changes nothing, misses nothing, and can take
// the journal over at any record; the former owner never touches it again (I1, I3, I9).
// Method: two rigs in one process on one folder: one serves and writes at random, the other is
// warm, catches up, adopts, and is compared block by block with a model. The folder's bytes are
// compared around everything that must not change them.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <thread>

#include "tests/support/volume_rig.h"

namespace weir::testing {
namespace {

using Model = std::vector<uint64_t>;

std::map<std::string, std::string> FolderBytes(const std::string& path) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename()] = {std::istreambuf_iterator<char>(file), {}};
  }
  return files;
}

void ExpectModel(VolumeRig& rig, const Model& model) {
  constexpr uint32_t kStep = 64;
  for (uint64_t block = 0; block < model.size(); block += kStep) {
    Bytes data;
    ASSERT_EQ(rig.Read(block, kStep, &data), 0);
    for (uint32_t i = 0; i < kStep; ++i) {
      ASSERT_EQ(StampOf(data, i), model[block + i]) << "block " << block + i;
    }
  }
}

// The steps of a handover between two rigs, without what carries them between processes.
void Hold(VolumeRig& writer) {
  std::promise<void> settled;
  writer.On([&](VolumeServer& at) { at.volume().SetCalm(true, [&] { settled.set_value(); }); });
  settled.get_future().wait();
}

JournalHandover Rest(VolumeRig& writer) {
  Journal* journal = nullptr;
  writer.On([&](VolumeServer& at) {
    journal = at.volume().journal();
    journal->PauseBackground();
  });
  while (!journal->background_at_rest()) std::this_thread::yield();
  JournalHandover handover;
  writer.On([&](VolumeServer& at) { handover = at.volume().journal()->handover(); });
  return handover;
}

uint64_t CatchUp(VolumeRig& warm, uint64_t until) {
  uint64_t seq = 0;
  warm.On([&](VolumeServer& at) {
    const auto caught = at.volume().CatchUp(until);
    ASSERT_TRUE(caught.ok()) << caught.error().what;
    seq = caught.value();
  });
  return seq;
}

void Adopt(VolumeRig& warm, VolumeRig& writer, const JournalHandover& handover) {
  int lock = -1;
  writer.On([&](VolumeServer& at) {
    lock = ::fcntl(at.volume().journal()->lock_fd(), F_DUPFD_CLOEXEC, 0);
    at.volume().LetGo();
  });
  warm.On([&](VolumeServer& at) {
    ASSERT_TRUE(at.volume().PrepareAdopt().ok());
    ASSERT_TRUE(at.volume().Matches(handover));
    ASSERT_TRUE(at.volume().Adopt(handover, UniqueFd(lock)).ok());
  });
}

void RandomWrites(VolumeRig& rig, Model& model, std::mt19937& random, uint64_t& stamp, int steps) {
  for (int step = 0; step < steps; ++step) {
    const uint64_t block = random() % (model.size() - 40);
    const auto count = static_cast<uint32_t>(1 + random() % 40);
    const bool zero = random() % 8 == 0;
    ASSERT_EQ(zero ? rig.Zero(block, count) : rig.Write(block, Stamped(count, ++stamp)), 0);
    std::fill_n(model.begin() + static_cast<long>(block), count, zero ? 0 : stamp);
    if (random() % 10 == 0) {
      ASSERT_EQ(rig.Flush(), 0);
    }
  }
}

struct Scene {
  TempDirectory directory;
  std::shared_ptr<FakeBucket> bucket = std::make_shared<FakeBucket>();
  std::shared_ptr<VolumeRig::Position> position = std::make_shared<VolumeRig::Position>();
  [[nodiscard]] std::unique_ptr<VolumeRig> Open(bool warm) const {
    return std::make_unique<VolumeRig>(RigOptions{.directory = directory.path() + "/journal",
                                                  .size_blocks = 2048,
                                                  .journal_bytes = 64U << 20,
                                                  .journal_file_bytes = 1U << 20,
                                                  .batch_bytes = 256U << 10,
                                                  .warm = warm},
                                       bucket, position);
  }
};

TEST(WarmVolume, TakesOverAgainAndAgainAtARandomRecord) {
  std::mt19937 random(20260501);
  Scene scene;
  Model model(2048);
  uint64_t stamp = 0;
  std::unique_ptr<VolumeRig> writer = scene.Open(false);
  for (int life = 0; life < 25; ++life) {
    SCOPED_TRACE(life);
    RandomWrites(*writer, model, random, stamp, 40);
    if (random() % 2 == 0) writer->UploadAll();
    RandomWrites(*writer, model, random, stamp, static_cast<int>(random() % 40));
    Hold(*writer);
    std::unique_ptr<VolumeRig> warm = scene.Open(true);
    // Often enough to cross ends of files, which hold about 250 blocks.
    for (uint64_t rounds = random() % 4; rounds > 0; --rounds) {
      RandomWrites(*writer, model, random, stamp, static_cast<int>(random() % 30));
      (void)CatchUp(*warm, UINT64_MAX);
    }
    const JournalHandover handover = Rest(*writer);
    ASSERT_EQ(CatchUp(*warm, handover.committed_seq), handover.committed_seq);
    Adopt(*warm, *writer, handover);
    writer = std::move(warm);  // The former owner's destructor is part of the test.
    ExpectModel(*writer, model);
    EXPECT_EQ(writer->Stats().io_errors, 0U);
  }
  writer = nullptr;
  ExpectModel(*scene.Open(false), model);  // And as after a kill.
}

TEST(WarmVolume, ChangesNothingOnDiskUntilItAdopts) {
  std::mt19937 random(7);
  Scene scene;
  Model model(2048);
  uint64_t stamp = 0;
  const auto writer = scene.Open(false);
  RandomWrites(*writer, model, random, stamp, 60);
  Hold(*writer);
  (void)Rest(*writer);
  const auto before = FolderBytes(scene.directory.path() + "/journal");
  {
    const auto warm = scene.Open(true);
    (void)CatchUp(*warm, UINT64_MAX);
    warm->On([&](VolumeServer& at) { ASSERT_TRUE(at.volume().PrepareAdopt().ok()); });
    EXPECT_EQ(FolderBytes(scene.directory.path() + "/journal"), before);
  }
  EXPECT_EQ(FolderBytes(scene.directory.path() + "/journal"), before);
  writer->On([](VolumeServer& at) { at.volume().journal()->ResumeBackground(); });
  RandomWrites(*writer, model, random, stamp, 60);
  ExpectModel(*writer, model);
}

TEST(WarmVolume, TheFormerOwnerWritesNothingMore) {
  std::mt19937 random(8);
  Scene scene;
  Model model(2048);
  uint64_t stamp = 0;
  auto writer = scene.Open(false);
  RandomWrites(*writer, model, random, stamp, 30);
  Hold(*writer);
  const auto warm = scene.Open(true);
  const JournalHandover handover = Rest(*writer);
  (void)CatchUp(*warm, handover.committed_seq);
  Adopt(*warm, *writer, handover);
  (void)Rest(*warm);  // So that only the former owner could change the folder.
  const auto before = FolderBytes(scene.directory.path() + "/journal");
  EXPECT_EQ(writer->Write(0, Stamped(1, 99)), -EIO);
  writer = nullptr;
  EXPECT_EQ(FolderBytes(scene.directory.path() + "/journal"), before);
}

TEST(WarmVolume, SeesAJournalThatIsNotWhatWasSaid) {
  Scene scene;
  const auto writer = scene.Open(false);
  ASSERT_EQ(writer->Write(1, Stamped(1, 5)), 0);
  const auto warm = scene.Open(true);
  JournalHandover stale = Rest(*writer);
  ASSERT_EQ(writer->Write(2, Stamped(1, 6)), 0);
  (void)CatchUp(*warm, UINT64_MAX);
  bool matches = true;
  warm->On([&](VolumeServer& at) { matches = at.volume().Matches(stale); });
  EXPECT_FALSE(matches);
  stale.committed_seq += 2;
  warm->On([&](VolumeServer& at) { matches = at.volume().Matches(stale); });
  EXPECT_FALSE(matches);
}

TEST(WarmVolume, GivesBackWhatWaitsForTheBucketAndTakesItAgain) {
  Scene scene;
  {
    const auto writer = scene.Open(false);
    ASSERT_EQ(writer->Write(100, Stamped(1, 5)), 0);
    writer->UploadAll();
  }
  // Push the block out of the journal's map: a fresh rig has it in the bucket only.
  std::filesystem::remove_all(scene.directory.path() + "/journal");
  const auto reader = scene.Open(false);
  struct Owner final : IoOwner {
    std::promise<int> done;
    void OnIoDone(IoRequest*, int result) override { done.set_value(result); }
  } owner;
  Bytes data(kBlockBytes);
  IoRequest request{.op = IoOp::kRead,
                    .offset_bytes = 100 * kBlockBytes,
                    .length_bytes = kBlockBytes,
                    .data = data.data(),
                    .owner = &owner};
  // Both in one task: the bucket's answer can only come later.
  reader->On([&](VolumeServer& at) {
    at.volume().Submit(&request);
    at.volume().GiveBackWaiting(false);
  });
  EXPECT_EQ(owner.done.get_future().get(), kGivenBack);
  ASSERT_EQ(reader->Read(100, 1, &data), 0);
  EXPECT_EQ(StampOf(data, 0), 5U);
  EXPECT_EQ(reader->Stats().io_errors, 0U);
}

TEST(WarmVolume, GivesBackFlushesWhoseSyncIsUnderWay) {
  Scene scene;
  const auto writer = scene.Open(false);
  struct Owner final : IoOwner {
    std::promise<int> done;
    void OnIoDone(IoRequest*, int result) override { done.set_value(result); }
  } owner;
  IoRequest flush{.op = IoOp::kFlush, .owner = &owner};
  ASSERT_EQ(writer->Write(7, Stamped(1, 3)), 0);
  bool syncing = false;
  writer->On([&](VolumeServer& at) {
    at.volume().Submit(&flush);
    at.volume().GiveBackWaiting(true);
    syncing = at.volume().syncing();
  });
  EXPECT_EQ(owner.done.get_future().get(), kGivenBack);
  EXPECT_FALSE(syncing) << "nobody waits, so none is begun";
  ASSERT_EQ(writer->Flush(), 0);
  EXPECT_EQ(writer->Stats().io_errors, 0U);
}

}  // namespace
}  // namespace weir::testing
