// Goal: the journal's contract on a real folder: what is appended is read, visited and replayed;
//   files are sealed and recycled, identity and lock are kept.
// Method: small files under a scratch folder, the real background thread; waits are on ready_fd().
#include "engine/journal/journal.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "engine/journal/journal_file.h"
#include "tests/support/journal_model.h"
#include "tests/support/scratch_folder.h"

namespace weir::test {
namespace {

constexpr int kWaitMs = 20'000;  // far beyond what it takes; a hang fails instead of lasting

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() {
    config_ = SimConfig();
    config_.directory = folder_.path() + "/journal";
  }

  std::unique_ptr<Journal> Open() {
    replayed_.clear();
    auto opened = Journal::Open(
        config_, [this](const JournalRecord& record) { replayed_.push_back(record); });
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().what);
    return opened.ok() ? std::move(opened.value()) : nullptr;
  }
  int OpenError() {
    const auto opened = Journal::Open(config_, [](const JournalRecord&) {});
    return opened.ok() ? 0 : opened.error().code;
  }
  static void Await(Journal& journal) {
    pollfd ready{journal.ready_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, kWaitMs), 1);
    journal.OnReady();
  }
  static void AwaitRoom(Journal& journal, uint32_t blocks) {
    while (!journal.CanStage(blocks)) ASSERT_NO_FATAL_FAILURE(Await(journal));
  }
  JournalRecord Stage(Journal& journal, uint64_t start, uint32_t count, uint64_t stamp) {
    buffers_.emplace_back(size_t{count} * kBlockBytes);
    for (uint32_t i = 0; i < count; ++i) {
      FillBlock(stamp, i, buffers_.back().data() + size_t{i} * kBlockBytes);
    }
    return journal.StageWrite(start, count, buffers_.back().data());
  }
  JournalRecord Append(Journal& journal, uint64_t start, uint32_t count, uint64_t stamp) {
    AwaitRoom(journal, count);
    const JournalRecord record = Stage(journal, start, count, stamp);
    EXPECT_TRUE(journal.Commit().ok());
    return record;
  }
  static bool Holds(const Journal& journal, const JournalRecord& record, uint64_t stamp) {
    Bytes got(size_t{record.block_count} * kBlockBytes);
    Bytes want(kBlockBytes);
    if (!journal.Read(record.addr, record.start_block, record.block_count, got.data()).ok())
      return false;
    for (uint32_t i = 0; i < record.block_count; ++i) {
      FillBlock(stamp, i, want.data());
      if (std::memcmp(want.data(), got.data() + size_t{i} * kBlockBytes, kBlockBytes) != 0)
        return false;
    }
    return true;
  }
  static std::vector<uint64_t> Visited(const Journal& journal, uint64_t after) {
    std::vector<uint64_t> seqs;
    journal.Visit(after, [&](const JournalRecord& record) {
      seqs.push_back(record.seq);
      return true;
    });
    return seqs;
  }
  // Appends four-block records until `files` files are sealed.
  void FillFiles(Journal& journal, uint32_t files) {
    const uint32_t first = journal.oldest_file().number;
    for (;;) {
      const JournalRecord record = Append(journal, 0, 4, journal.committed_seq() + 1);
      if (first != 0 && record.addr.file() >= first + files) return;
      if (first == 0 && record.addr.file() >= journal.oldest_file().number + files) return;
    }
  }

  ScratchFolder folder_;
  JournalConfig config_;
  std::vector<JournalRecord> replayed_;
  std::vector<Bytes> buffers_;
};

TEST_F(JournalTest, ReadsBackWhatWasAppended) {
  const auto journal = Open();
  const JournalRecord one = Stage(*journal, 7, 1, 100);
  const JournalRecord three = Stage(*journal, 1ULL << 33, 3, 200);
  ASSERT_TRUE(journal->Commit().ok());
  EXPECT_EQ(one.seq, 1U);
  EXPECT_EQ(three.seq, 2U);
  EXPECT_LT(one.addr, three.addr);
  EXPECT_EQ(journal->committed_seq(), 2U);
  EXPECT_TRUE(Holds(*journal, one, 100));
  EXPECT_TRUE(Holds(*journal, three, 200));
  // The middle block by itself.
  Bytes block(kBlockBytes);
  Bytes want(kBlockBytes);
  FillBlock(200, 1, want.data());
  const JournalAddr middle{three.addr.value + kJournalBlockStride};
  ASSERT_TRUE(journal->Read(middle, (1ULL << 33) + 1, 1, block.data()).ok());
  EXPECT_EQ(block, want);
}

TEST_F(JournalTest, RefusesToReadAnotherBlockThanTheOneAtTheAddress) {
  const auto journal = Open();
  const JournalRecord record = Append(*journal, 7, 2, 100);
  Bytes block(kBlockBytes);
  const auto read_as = [&](JournalAddr addr, uint64_t start) {
    const auto read = journal->Read(addr, start, 1, block.data());
    return read.ok() ? 0 : read.error().code;
  };
  EXPECT_EQ(read_as(record.addr, 7), 0);
  EXPECT_EQ(read_as(record.addr, 8), EBADMSG);
  EXPECT_EQ(read_as(record.addr, 7 + (1ULL << 32)), EBADMSG);  // same low half
  EXPECT_EQ(read_as(JournalAddr{record.addr.value + 8}, 7), EBADMSG);
  EXPECT_EQ(read_as(JournalAddr::Of(record.addr.file() + 1, record.addr.offset()), 7), EBADMSG);
  EXPECT_EQ(read_as(JournalAddr::Of(record.addr.file(), kSimFileBytes - 8), 7), EBADMSG);
  EXPECT_EQ(read_as(JournalAddr::Of(0, 4096), 7), EBADMSG);
}

TEST_F(JournalTest, ReplaysEverythingAfterTheProcessWentAway) {
  constexpr size_t kRecords = 20;
  std::vector<JournalRecord> appended;
  {
    const auto journal = Open();
    for (uint64_t i = 0; i < kRecords; ++i) {
      appended.push_back(Append(*journal, i % 5, 1 + static_cast<uint32_t>(i % 4), i));
    }
    AwaitRoom(*journal, 0);
    appended.push_back(journal->StageZeroes(3, 0xffffffff));
    appended.push_back(journal->StageResize(1ULL << 34));
    ASSERT_TRUE(journal->Commit().ok());
  }
  const auto journal = Open();
  ASSERT_EQ(replayed_.size(), appended.size());
  for (size_t i = 0; i < appended.size(); ++i) {
    EXPECT_EQ(replayed_[i].seq, appended[i].seq);
    EXPECT_EQ(replayed_[i].type, appended[i].type);
    EXPECT_EQ(replayed_[i].start_block, appended[i].start_block);
    EXPECT_EQ(replayed_[i].block_count, appended[i].block_count);
    EXPECT_EQ(replayed_[i].addr, appended[i].addr);
    if (i < kRecords) {
      EXPECT_TRUE(Holds(*journal, replayed_[i], i)) << i;
    }
  }
  EXPECT_EQ(journal->synced_seq(), journal->committed_seq());
  EXPECT_TRUE(journal->sync_fds().empty());
  EXPECT_EQ(Append(*journal, 1, 1, 5).seq, appended.back().seq + 1);
}

TEST_F(JournalTest, StaysInItsNewestFileOverManyOpens) {
  for (uint64_t i = 1; i <= 30; ++i) {
    const auto journal = Open();
    ASSERT_EQ(journal->committed_seq(), i - 1);
    ASSERT_TRUE(journal->CanStage(0));
    (void)journal->StageZeroes(i, 1);
    ASSERT_TRUE(journal->Commit().ok());
    EXPECT_EQ(journal->oldest_file().number, 1U);
    EXPECT_EQ(journal->used_bytes(), kSimFileBytes);
  }
}

// As after a kill while the next file was being made: small records fit, large ones need that file.
TEST_F(JournalTest, MakesTheNextFileForAWriteThatWaitsAfterAnOpen) {
  const uint32_t newest = Append(*Open(), 0, 12, 1).addr.file();
  for (const auto& entry : std::filesystem::directory_iterator(config_.directory)) {
    const bool spare =
        entry.path().extension() == ".jnl" && entry.path().filename() != journal::FileName(newest);
    if (spare) std::filesystem::remove(entry.path());
  }
  const auto journal = Open();
  ASSERT_TRUE(journal->CanStage(0));
  ASSERT_FALSE(journal->CanStage(12));
  ASSERT_NO_FATAL_FAILURE(AwaitRoom(*journal, 12));
  EXPECT_GT(Append(*journal, 0, 12, 2).addr.file(), newest);
}

TEST_F(JournalTest, VisitsFromTheMiddleAcrossFiles) {
  const auto journal = Open();
  FillFiles(*journal, 3);
  const uint64_t last = journal->committed_seq();
  for (uint64_t after = 0; after <= last; ++after) {
    std::vector<uint64_t> expected;
    for (uint64_t seq = after + 1; seq <= last; ++seq) expected.push_back(seq);
    EXPECT_EQ(Visited(*journal, after), expected);
  }
  size_t visits = 0;
  journal->Visit(0, [&](const JournalRecord&) { return ++visits < 4; });
  EXPECT_EQ(visits, 4U);
}

TEST_F(JournalTest, DoesNotVisitStagedRecords) {
  const auto journal = Open();
  (void)Append(*journal, 0, 1, 1);
  (void)Stage(*journal, 0, 1, 2);
  EXPECT_EQ(Visited(*journal, 0), std::vector<uint64_t>{1});
  EXPECT_EQ(journal->committed_seq(), 1U);
}

TEST_F(JournalTest, NamesTheFilesASyncHasToCover) {
  const auto journal = Open();
  EXPECT_TRUE(journal->sync_fds().empty());
  (void)Append(*journal, 0, 1, 1);
  ASSERT_EQ(journal->sync_fds().size(), 1U);
  EXPECT_EQ(journal->synced_seq(), 0U);
  for (const int fd : journal->sync_fds()) ASSERT_EQ(::fdatasync(fd), 0);
  journal->MarkSynced(journal->committed_seq());
  EXPECT_TRUE(journal->sync_fds().empty());
  EXPECT_EQ(journal->synced_seq(), 1U);
  (void)Append(*journal, 0, 1, 1);
  (void)Append(*journal, 0, 1, 1);
  journal->MarkSynced(2);  // a sync that began before the third record
  EXPECT_EQ(journal->sync_fds().size(), 1U);
}

TEST_F(JournalTest, SealedFilesAreSyncedBehindTheOwnersBack) {
  const auto journal = Open();
  FillFiles(*journal, 2);
  const uint64_t sealed_seq = journal->oldest_file().last_seq;
  while (journal->synced_seq() < sealed_seq) ASSERT_NO_FATAL_FAILURE(Await(*journal));
  EXPECT_LT(journal->synced_seq(), journal->committed_seq());
}

TEST_F(JournalTest, HoldsWritesWhenFullAndGoesOnAfterRecycling) {
  const auto journal = Open();
  const uint64_t files = journal->capacity_bytes() / kSimFileBytes;
  FillFiles(*journal, static_cast<uint32_t>(files) - 1);
  while (journal->CanStage(4)) (void)Append(*journal, 0, 4, 1);
  EXPECT_EQ(journal->used_bytes(), journal->capacity_bytes());
  const Journal::FileInfo oldest = journal->oldest_file();
  ASSERT_TRUE(oldest.sealed);
  EXPECT_EQ(oldest.first_seq, 1U);
  ASSERT_TRUE(journal->RecycleOldest().ok());
  EXPECT_EQ(journal->oldest_file().first_seq, oldest.last_seq + 1);
  EXPECT_EQ(journal->used_bytes(), journal->capacity_bytes() - kSimFileBytes);
  const JournalRecord next = Append(*journal, 9, 4, 99);
  EXPECT_GT(next.addr.file(), oldest.number + files - 1);  // a number is never used twice
  EXPECT_TRUE(Holds(*journal, next, 99));
  EXPECT_EQ(journal->last_prepare_error(), 0);
}

TEST_F(JournalTest, RecycledRecordsAreNotReplayed) {
  uint64_t floor_seq = 0;
  uint64_t last_seq = 0;
  {
    const auto journal = Open();
    FillFiles(*journal, 4);
    floor_seq = journal->oldest_file().last_seq;
    ASSERT_TRUE(journal->RecycleOldest().ok());
    // The capacity is six files, so the seventh number is used only once the recycled one is back.
    while (Append(*journal, 0, 4, 1).addr.file() < 7) {
    }
    last_seq = journal->committed_seq();
  }
  const auto journal = Open();
  ASSERT_FALSE(replayed_.empty());
  EXPECT_EQ(replayed_.front().seq, floor_seq + 1);
  EXPECT_EQ(replayed_.back().seq, last_seq);
}

TEST_F(JournalTest, GoesOnBehindStableRecordsThatDidNotSurvive) {
  {
    const auto journal = Open();
    (void)Append(*journal, 0, 1, 1);
  }
  config_.stable_seq = 500;
  {
    const auto journal = Open();
    EXPECT_TRUE(replayed_.empty());
    EXPECT_EQ(journal->committed_seq(), 500U);
    EXPECT_EQ(Append(*journal, 0, 1, 2).seq, 501U);
  }
  const auto journal = Open();
  ASSERT_EQ(replayed_.size(), 1U);
  EXPECT_EQ(replayed_.front().seq, 501U);
}

TEST_F(JournalTest, StableRecordsThatSurvivedAreReplayed) {
  {
    const auto journal = Open();
    (void)Append(*journal, 0, 1, 1);
  }
  config_.stable_seq = 1;
  const auto journal = Open();
  EXPECT_EQ(replayed_.size(), 1U);
}

TEST_F(JournalTest, StartsBehindItsBaseAndRemembersIt) {
  config_.base_epoch = 4;
  config_.base_seq = 17;
  config_.base_record_seq = 1000;
  {
    const auto journal = Open();
    EXPECT_EQ(journal->committed_seq(), 1000U);
    EXPECT_EQ(Append(*journal, 0, 1, 1).seq, 1001U);
  }
  const Uid journal_id = config_.journal_id;
  config_.journal_id.bytes.fill(std::byte{0x55});  // only counts for a new journal
  config_.base_seq = 0;
  const auto journal = Open();
  EXPECT_EQ(replayed_.size(), 1U);
  EXPECT_EQ(journal->identity().journal_id, journal_id);
  EXPECT_EQ(journal->identity().base_epoch, 4U);
  EXPECT_EQ(journal->identity().base_seq, 17U);
  const auto inspected = Journal::Inspect(config_.directory);
  ASSERT_TRUE(inspected.ok());
  EXPECT_EQ(inspected.value().journal_id, journal_id);
  EXPECT_EQ(inspected.value().volume, config_.volume);
}

TEST_F(JournalTest, InspectsNothingWhereThereIsNoJournal) {
  const auto inspected = Journal::Inspect(config_.directory);
  ASSERT_FALSE(inspected.ok());
  EXPECT_EQ(inspected.error().code, ENOENT);
}

TEST_F(JournalTest, IsHeldByOneOwnerAtATime) {
  {
    const auto journal = Open();
    EXPECT_EQ(OpenError(), EBUSY);
  }
  EXPECT_EQ(OpenError(), 0);
}

TEST_F(JournalTest, BelongsToOneVolume) {
  (void)Open();
  config_.volume.bytes.fill(std::byte{0x12});
  EXPECT_EQ(OpenError(), EXDEV);
}

TEST_F(JournalTest, RefusesSizesItCannotWorkWith) {
  for (const uint32_t file_bytes : {4096U, 65536U + 512U, 2U << 30}) {
    config_.file_bytes = file_bytes;
    EXPECT_EQ(OpenError(), EINVAL) << file_bytes;
  }
  config_.file_bytes = kSimFileBytes;
  config_.capacity_bytes = 2 * kSimFileBytes - 1;
  EXPECT_EQ(OpenError(), EINVAL);
}

TEST_F(JournalTest, NeverOffersRoomThatAFileDoesNotHave) {
  const auto journal = Open();
  EXPECT_TRUE(journal->CanStage(12));
  EXPECT_FALSE(journal->CanStage(13));
  EXPECT_FALSE(journal->CanStage(kJournalRecordBlocksMax));
}

}  // namespace
}  // namespace weir::test
