// Goal: the journal writes the way its speed and its safety rest on: up to the end of a page, one
//   write per file and commit, no reads, no growth of memory in the steady state.
// Method: the recorded operations of a journal on the simulated disk.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/journal/background.h"
#include "tests/support/journal_model.h"

namespace weir::test {
namespace {

constexpr uint32_t kFileBytes = 8U << 20;

std::unique_ptr<Journal> OpenBig(SimStorage& storage, uint64_t files = 4) {
  JournalConfig config = SimConfig();
  config.file_bytes = kFileBytes;
  config.capacity_bytes = files * kFileBytes;
  auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, config,
                                [](const JournalRecord&) {});
  EXPECT_TRUE(opened.ok());
  return std::move(opened.value());
}

std::vector<const SimOp*> WritesSince(const SimStorage& storage, size_t op) {
  std::vector<const SimOp*> writes;
  for (size_t i = op; i < storage.ops().size(); ++i) {
    if (storage.ops()[i].kind == SimOpKind::kWrite) writes.push_back(&storage.ops()[i]);
  }
  return writes;
}

TEST(JournalWritePattern, OneWritePerCommitThatEndsWithAPage) {
  SimStorage storage;
  const auto journal = OpenBig(storage);
  const Bytes data(size_t{kJournalRecordBlocksMax} * kBlockBytes, std::byte{0x42});
  std::mt19937_64 random(3);
  uint64_t end = 0;  // the file's header is written with its first record
  for (int commit = 0; commit < 200; ++commit) {
    const size_t before = storage.op_count();
    const uint64_t records = 1 + random() % 3;
    uint64_t bytes = commit == 0 ? journal::kFileHeaderBytes : 0;
    for (uint64_t i = 0; i < records; ++i) {
      const auto blocks = static_cast<uint32_t>(1 + random() % 4);
      ASSERT_TRUE(journal->CanStage(blocks));
      (void)journal->StageWrite(random() % 99, blocks, data.data());
      bytes += journal::RecordBytes(blocks);
    }
    EXPECT_EQ(storage.op_count(), before);  // staging touches memory only
    ASSERT_TRUE(journal->Commit().ok());
    const auto writes = WritesSince(storage, before);
    ASSERT_EQ(writes.size(), 1U);
    EXPECT_EQ(writes[0]->offset, end);
    EXPECT_EQ((writes[0]->offset + writes[0]->data.size()) % 4096, 0U);
    end += bytes;
  }
}

// A large commit is written in pieces of whole pages; what lies on disk is the same.
TEST(JournalWritePattern, CutsLargeCommitsBetweenPages) {
  SimStorage storage;
  std::vector<JournalRecord> records;
  Bytes data(size_t{kJournalRecordBlocksMax} * kBlockBytes);
  for (uint32_t i = 0; i < kJournalRecordBlocksMax; ++i)
    FillBlock(9, i, data.data() + size_t{i} * kBlockBytes);
  {
    const auto journal = OpenBig(storage);
    const size_t before = storage.op_count();
    for (uint64_t i = 0; i < 6; ++i) {
      (void)journal->StageZeroes(i, 1);  // shifts the records against the pages
      records.push_back(journal->StageWrite(i, kJournalRecordBlocksMax, data.data()));
    }
    ASSERT_TRUE(journal->Commit().ok());
    const auto writes = WritesSince(storage, before);
    EXPECT_EQ(writes.size(), 25U);  // 6 x (2 x 64 + 256 x 4104) bytes and a header page, by 256 KiB
    uint64_t next = 0;
    for (const SimOp* write : writes) {
      EXPECT_EQ(write->offset, next);
      EXPECT_EQ(write->data.size() % 4096, 0U);
      next = write->offset + write->data.size();
    }
  }
  size_t replayed = 0;
  JournalConfig config = SimConfig();
  config.capacity_bytes = 4ULL * kFileBytes;
  const auto again = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, config,
                                     [&](const JournalRecord&) { ++replayed; });
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(replayed, 12U);
  Bytes got(data.size());
  for (const JournalRecord& record : records) {
    ASSERT_TRUE(
        again.value()->Read(record.addr, record.start_block, record.block_count, got.data()).ok());
    EXPECT_EQ(got, data);
  }
}

TEST(JournalWritePattern, MemoryDoesNotGrowFromLapToLap) {
  SimStorage storage;
  const auto journal = OpenBig(storage);
  const Bytes data(16 * kBlockBytes, std::byte{0x42});
  uint64_t after_two_laps = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    while (!journal->CanStage(16)) {
      if (journal->oldest_file().sealed) {
        ASSERT_TRUE(journal->RecycleOldest().ok());
      }
      journal->OnReady();
    }
    (void)journal->StageWrite(i, 16, data.data());
    ASSERT_TRUE(journal->Commit().ok());
    if (i == 1500) after_two_laps = journal->index_memory_bytes();
  }
  EXPECT_GT(after_two_laps, 0U);
  EXPECT_EQ(journal->index_memory_bytes(), after_two_laps);
}

size_t ZeroedBytes(const SimStorage& storage, size_t since) {
  size_t bytes = 0;
  for (const SimOp* write : WritesSince(storage, since)) {
    if (write->data.size() >= 64U << 10) bytes += write->data.size();
  }
  return bytes;
}

// The next file is filled with zeros ahead of time, but nobody has to wait for that.
TEST(JournalWritePattern, AWriterThatWaitsGetsAFileThatIsOnlyReserved) {
  SimStorage storage;
  const auto journal = OpenBig(storage);
  const Bytes data(4 * kBlockBytes, std::byte{0x42});
  ASSERT_TRUE(journal->CanStage(4));
  (void)journal->StageWrite(0, 4, data.data());
  ASSERT_TRUE(journal->Commit().ok());
  size_t before = storage.op_count();
  journal->OnReady();
  EXPECT_EQ(ZeroedBytes(storage, before), kFileBytes);
  while (journal->CanStage(4)) {
    (void)journal->StageWrite(0, 4, data.data());
    ASSERT_TRUE(journal->Commit().ok());
  }
  before = storage.op_count();
  while (!journal->CanStage(4)) journal->OnReady();
  EXPECT_EQ(ZeroedBytes(storage, before), 0U);
}

// Sync, commit, sync, commit: the first file is merely reserved, so its next piece is written with
// zeros once per MiB; without syncs nothing but records is written.
TEST(JournalWritePattern, ZerosAreWrittenAheadInReservedSpaceOfAJournalThatIsSynced) {
  constexpr uint32_t kPiece = 1U << 20;
  constexpr uint32_t kRecordBytes = 64 + 4 * kJournalBlockStride;
  const Bytes data(4 * kBlockBytes, std::byte{0x42});
  for (const bool synced : {false, true}) {
    SimStorage storage;
    const auto journal = OpenBig(storage);
    uint32_t end = 4096;
    const size_t before = storage.op_count();
    while (end + kRecordBytes < 3 * kPiece) {
      (void)journal->StageWrite(0, 4, data.data());
      ASSERT_TRUE(journal->Commit().ok());
      end += kRecordBytes;
      if (!synced) continue;
      for (const int fd : journal->sync_fds()) ASSERT_TRUE(storage.Sync(fd).ok());
      journal->MarkSynced(journal->committed_seq());
    }
    EXPECT_EQ(ZeroedBytes(storage, before), synced ? 3 * kPiece : 0U);
    EXPECT_EQ(journal->oldest_file().last_seq, (end - 4096) / kRecordBytes);
  }
}

// The spare was filled with zeros, so nothing is written ahead in it.
TEST(JournalWritePattern, NoZerosAreWrittenAheadInAFileThatIsFullOfThem) {
  SimStorage storage;
  const auto journal = OpenBig(storage);
  const Bytes data(4 * kBlockBytes, std::byte{0x42});
  const auto write_and_sync = [&] {
    const JournalRecord record = journal->StageWrite(0, 4, data.data());
    ASSERT_TRUE(journal->Commit().ok());
    for (const int fd : journal->sync_fds()) ASSERT_TRUE(storage.Sync(fd).ok());
    journal->MarkSynced(record.seq);
  };
  write_and_sync();
  journal->OnReady();
  while (!journal->oldest_file().sealed) write_and_sync();
  for (int i = 0; i < 10; ++i) journal->OnReady();  // what the background does, it does here
  const size_t before = storage.op_count();
  for (int i = 0; i < 200; ++i) write_and_sync();
  EXPECT_EQ(ZeroedBytes(storage, before), 0U);
}

size_t Footers(const SimStorage& storage) {
  size_t footers = 0;
  for (const auto& [name, content] : storage.Now()) {
    if (!name.ends_with(".jnl")) continue;
    uint64_t magic = 0;
    std::memcpy(&magic, content.data() + kFileBytes - journal::kPageBytes, sizeof(magic));
    footers += magic == journal::kFooterMagic ? 1 : 0;
  }
  return footers;
}

// Four files may wait for a seal in a journal of 16; a flush has all of them sealed.
TEST(JournalWritePattern, FullFilesAreSealedOnceTheyAreDurableOrTooMany) {
  SimStorage storage;
  const auto journal = OpenBig(storage, 16);
  const Bytes data(64 * kBlockBytes, std::byte{0x42});
  uint32_t full = 0;
  const auto fill_until = [&](uint32_t files) {
    while (full < files) {
      while (!journal->CanStage(64)) journal->OnReady();
      full = journal->StageWrite(0, 64, data.data()).addr.file() - 1;
      ASSERT_TRUE(journal->Commit().ok());
    }
    for (int i = 0; i < 10; ++i) journal->OnReady();
  };
  fill_until(4);
  EXPECT_EQ(Footers(storage), 0U);
  fill_until(6);
  EXPECT_EQ(Footers(storage), 2U);
  for (const int fd : journal->sync_fds()) ASSERT_TRUE(storage.Sync(fd).ok());
  journal->MarkSynced(journal->committed_seq());
  for (int i = 0; i < 10; ++i) journal->OnReady();
  EXPECT_EQ(Footers(storage), 6U);
}

TEST(JournalWritePattern, AnIdleJournalReservesOneFileOnly) {
  SimStorage storage;
  const auto journal = OpenBig(storage);
  for (int i = 0; i < 10; ++i) journal->OnReady();
  size_t files = 0;
  for (const auto& [name, content] : storage.Now()) files += name.ends_with(".jnl") ? 1 : 0;
  EXPECT_EQ(files, 1U);
}

}  // namespace
}  // namespace weir::test
