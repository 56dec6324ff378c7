// Goal: damage to what had been durable is noticed, at the latest by the read, and never served or
//   taken for a torn tail (I8; L2, L6, L7, L8); a torn tail is not taken for damage.
// Method: planted faults in the folder of a journal on the simulated disk, one kind per test; the
//   bit-rot sweep flips single bits all over the folder.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/journal/background.h"
#include "engine/journal/journal_format.h"
#include "tests/support/journal_model.h"

namespace weir::test {
namespace {

using journal::RecordHeader;

class JournalCorruption : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Journal::OpenOn(storage_.NewDisk(), journal::BackgroundMode::kManual, SimConfig(),
                                  [](const JournalRecord&) {});
    ASSERT_TRUE(opened.ok());
    journal_ = std::move(opened.value());
  }
  void Append(uint32_t blocks) {
    while (!journal_->CanStage(blocks)) journal_->OnReady();
    Bytes data(size_t{blocks} * kBlockBytes);
    model_.records.push_back({.type = RecordType::kWrite,
                              .start_block = model_.records.size() % 3,
                              .block_count = blocks,
                              .stamp = model_.records.size()});
    const ModelRecord& record = model_.records.back();
    for (uint32_t i = 0; i < blocks; ++i)
      FillBlock(record.stamp, i, data.data() + size_t{i} * kBlockBytes);
    records_.push_back(journal_->StageWrite(record.start_block, blocks, data.data()));
    ASSERT_TRUE(journal_->Commit().ok());
  }
  void Sync() {
    for (const int fd : journal_->sync_fds()) ASSERT_TRUE(storage_.Sync(fd).ok());
    journal_->MarkSynced(journal_->committed_seq());
  }
  // Lets the background finish what it has to do: seal, prepare, write the mark.
  void Idle() {
    for (int i = 0; i < 20; ++i) journal_->OnReady();
  }
  void AppendFiles(uint32_t files) {
    const uint32_t first = records_.empty() ? 1 : records_.back().addr.file();
    do Append(3);
    while (records_.back().addr.file() < first + files);
  }
  static std::string FileOf(const JournalRecord& record) {
    return journal::FileName(record.addr.file());
  }
  static size_t HeaderAt(const JournalRecord& record) {
    return record.addr.offset() - sizeof(RecordHeader);
  }
  int OpenError(const Image& image) const {
    SimStorage storage(image);
    const auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual,
                                        SimConfig(), [](const JournalRecord&) {});
    return opened.ok() ? 0 : opened.error().code;
  }
  // The errno of opening `image` and reading `record` there.
  int ReadError(const Image& image, const JournalRecord& record) const {
    SimStorage storage(image);
    const auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual,
                                        SimConfig(), [](const JournalRecord&) {});
    if (!opened.ok()) return opened.error().code;
    Bytes out(size_t{record.block_count} * kBlockBytes);
    const auto read =
        opened.value()->Read(record.addr, record.start_block, record.block_count, out.data());
    return read.ok() ? 0 : read.error().code;
  }
  uint64_t TailOf(const Image& image) const {
    SimStorage storage(image);
    const auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual,
                                        SimConfig(), [](const JournalRecord&) {});
    return opened.ok() ? opened.value()->committed_seq() : 0;
  }
  static void Flip(Image& image, const std::string& name, size_t at) {
    image.at(name).at(at) ^= std::byte{0x10};
  }

  SimStorage storage_;
  std::unique_ptr<Journal> journal_;
  Model model_;
  std::vector<JournalRecord> records_;
};

TEST_F(JournalCorruption, AFlippedHeaderBitInFrontOfASyncIsNoticed) {
  for (int i = 0; i < 3; ++i) Append(1);
  Sync();
  Append(1);  // says that the three were durable
  Image image = storage_.Now();
  EXPECT_EQ(OpenError(image), 0);
  for (size_t at = 0; at < sizeof(RecordHeader); ++at) {
    Image broken = image;
    Flip(broken, FileOf(records_[1]), HeaderAt(records_[1]) + at);
    EXPECT_EQ(OpenError(broken), EBADMSG) << at;
  }
}

TEST_F(JournalCorruption, AFlippedDataBitInFrontOfASyncIsNoticed) {
  for (int i = 0; i < 3; ++i) Append(2);
  Sync();
  Append(1);
  for (size_t at = 0; at < 2 * size_t{kJournalBlockStride}; at += 97) {
    Image broken = storage_.Now();
    Flip(broken, FileOf(records_[1]), records_[1].addr.offset() + at);
    EXPECT_EQ(OpenError(broken), EBADMSG) << at;
  }
}

// Valid in every respect but its place in the sequence.
TEST_F(JournalCorruption, ARecordInAnothersPlaceIsNoticed) {
  for (int i = 0; i < 6; ++i) Append(1);
  Sync();
  Append(1);
  Image broken = storage_.Now();
  std::byte* file = broken.at(FileOf(records_[0])).data();
  std::memcpy(file + HeaderAt(records_[4]), file + HeaderAt(records_[1]),
              sizeof(RecordHeader) + kJournalBlockStride);
  EXPECT_EQ(OpenError(broken), EBADMSG);
}

// A clean close lets the next Open() skip the search for proof; it must not let any later one.
TEST_F(JournalCorruption, ACloseCountsOnlyUntilTheNextOpen) {
  Append(1);
  Sync();
  journal_.reset();
  SetUp();
  Append(1);
  Sync();
  Append(1);
  Image broken = storage_.Now();
  EXPECT_EQ(OpenError(broken), 0);
  Flip(broken, FileOf(records_[1]), HeaderAt(records_[1]));
  EXPECT_EQ(OpenError(broken), EBADMSG);
}

// The log is another copy: what it holds need not stop anybody, what it does not hold must.
TEST_F(JournalCorruption, DamageToRecordsThatTheLogHoldsIsNoLoss) {
  for (int i = 0; i < 3; ++i) Append(1);
  Sync();
  Append(1);
  Image broken = storage_.Now();
  Flip(broken, FileOf(records_[1]), HeaderAt(records_[1]));
  for (uint64_t stable_seq = 0; stable_seq <= 6; ++stable_seq) {
    SimStorage storage(broken);
    JournalConfig config = SimConfig();
    config.stable_seq = stable_seq;
    const auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, config,
                                        [](const JournalRecord&) {});
    EXPECT_EQ(opened.ok(), stable_seq >= 4) << stable_seq;
    if (opened.ok()) {
      EXPECT_EQ(opened.value()->committed_seq(), stable_seq);
    }
  }
}

TEST_F(JournalCorruption, AnUnsyncedRecordMayBeTorn) {
  Append(1);
  Sync();
  Append(1);
  Append(1);
  Image torn = storage_.Now();
  Flip(torn, FileOf(records_[1]), records_[1].addr.offset());
  EXPECT_EQ(OpenError(torn), 0);
  EXPECT_EQ(TailOf(torn), 1U);
}

TEST_F(JournalCorruption, TheMarkProvesASyncNothingWasAppendedBehind) {
  for (int i = 0; i < 3; ++i) Append(1);
  Sync();
  Image early = storage_.Now();
  Idle();  // writes the mark
  Image late = storage_.Now();
  Flip(early, FileOf(records_[1]), HeaderAt(records_[1]));
  Flip(late, FileOf(records_[1]), HeaderAt(records_[1]));
  EXPECT_EQ(OpenError(early), 0);  // nothing on the disk tells it from a torn tail
  EXPECT_EQ(OpenError(late), EBADMSG);
}

TEST_F(JournalCorruption, SealedDataIsCheckedByTheRead) {
  AppendFiles(2);
  Idle();
  for (const size_t at :
       {size_t{0}, size_t{4}, size_t{8}, size_t{4000}, size_t{kJournalBlockStride}}) {
    Image broken = storage_.Now();
    Flip(broken, FileOf(records_[1]), records_[1].addr.offset() + at);
    EXPECT_EQ(OpenError(broken), 0) << at;  // the footer stands for the records
    EXPECT_EQ(ReadError(broken, records_[1]), EBADMSG) << at;
    EXPECT_EQ(ReadError(broken, records_[0]), 0) << at;
  }
}

TEST_F(JournalCorruption, ABrokenFooterCostsOnlyTime) {
  AppendFiles(2);
  Sync();
  Idle();
  for (const size_t back : {size_t{4096}, size_t{4096 - 40}, size_t{4096 + 8}, size_t{4096 + 24}}) {
    Image broken = storage_.Now();
    Flip(broken, FileOf(records_[0]), kSimFileBytes - back);
    EXPECT_EQ(OpenError(broken), 0) << back;
    EXPECT_EQ(TailOf(broken), records_.back().seq) << back;
    // Without the footer the data must verify.
    Flip(broken, FileOf(records_[1]), records_[1].addr.offset() + 50);
    EXPECT_EQ(OpenError(broken), EBADMSG) << back;
  }
}

TEST_F(JournalCorruption, SwappedBlocksAreNoticed) {
  Append(2);
  Append(2);
  Sync();
  Append(1);
  Image broken = storage_.Now();
  std::byte* file = broken.at(FileOf(records_[0])).data();
  std::byte* first = file + records_[0].addr.offset();
  std::swap_ranges(first, first + kJournalBlockStride, first + kJournalBlockStride);
  EXPECT_EQ(OpenError(broken), EBADMSG);
}

// The same block number at both places, so only the place itself tells them apart.
TEST_F(JournalCorruption, ABlockOfAnotherFileIsNoticed) {
  AppendFiles(2);
  Idle();
  const JournalRecord& here = records_[0];
  const JournalRecord* there = nullptr;
  for (const JournalRecord& record : records_) {
    if (record.addr.file() != here.addr.file() && record.start_block == here.start_block)
      there = &record;
  }
  ASSERT_NE(there, nullptr);
  Image broken = storage_.Now();
  std::memcpy(broken.at(FileOf(here)).data() + here.addr.offset(),
              broken.at(FileOf(*there)).data() + there->addr.offset(), kJournalBlockStride);
  EXPECT_EQ(ReadError(broken, here), EBADMSG);
}

TEST_F(JournalCorruption, AStaleFileOfAnOlderLapIsNoticed) {
  AppendFiles(3);
  Idle();
  const Image old = storage_.Now();
  const std::string reused = FileOf(records_[0]);
  ASSERT_TRUE(journal_->RecycleOldest().ok());
  AppendFiles(3);
  Sync();
  Append(1);
  Idle();
  Image broken = storage_.Now();
  ASSERT_FALSE(broken.contains(reused));
  EXPECT_EQ(OpenError(broken), 0);
  // An older backup of one file in the place of the newer one.
  broken.at(FileOf(records_.back())) = old.at(reused);
  EXPECT_EQ(OpenError(broken), EBADMSG);
}

TEST_F(JournalCorruption, AMissingFileIsNoticed) {
  AppendFiles(4);
  Sync();
  Append(1);
  Idle();
  const Image image = storage_.Now();
  for (uint32_t number = records_.front().addr.file(); number <= records_.back().addr.file();
       ++number) {
    Image broken = image;
    ASSERT_EQ(broken.erase(journal::FileName(number)), 1U);
    EXPECT_EQ(OpenError(broken), EBADMSG) << number;
  }
  for (const char* name : {"meta", "mark"}) {
    Image broken = image;
    ASSERT_EQ(broken.erase(name), 1U);
    EXPECT_EQ(OpenError(broken), EBADMSG) << name;
  }
}

TEST_F(JournalCorruption, ALostFileHeaderIsNoticed) {
  AppendFiles(2);
  Sync();
  Append(1);
  Idle();
  for (uint32_t number = records_.front().addr.file(); number <= records_.back().addr.file();
       ++number) {
    Image broken = storage_.Now();
    Flip(broken, journal::FileName(number), 17);
    EXPECT_EQ(OpenError(broken), EBADMSG) << number;
  }
}

TEST_F(JournalCorruption, OneOfTheTwoMarksIsEnough) {
  AppendFiles(2);
  Sync();
  Idle();
  for (const size_t at : {size_t{20}, size_t{4096 + 20}}) {
    Image broken = storage_.Now();
    Flip(broken, "mark", at);
    EXPECT_EQ(OpenError(broken), 0);
    Flip(broken, "mark", 4116 + 20 - at);
    EXPECT_EQ(OpenError(broken), EBADMSG);
  }
}

TEST_F(JournalCorruption, MetaOfAnotherKindIsRefused) {
  Image broken = storage_.Now();
  Flip(broken, "meta", 30);
  EXPECT_EQ(OpenError(broken), EBADMSG);
  broken.at("meta").resize(20);
  EXPECT_EQ(OpenError(broken), EBADMSG);
}

// Wherever a single bit rots: either Open() refuses, or every record that had been synced is there
// and each of its reads is right or refused.
TEST_F(JournalCorruption, NoSingleBitIsServedWrong) {
  AppendFiles(2);
  Sync();
  Append(2);
  Idle();
  const Image image = storage_.Now();
  const uint64_t synced_seq = journal_->synced_seq();
  std::mt19937_64 random(11);
  size_t refused = 0;
  size_t refused_reads = 0;
  for (const auto& [name, content] : image) {
    for (int i = 0; i < 150; ++i) {
      Image broken = image;
      broken.at(name)[random() % content.size()] ^= static_cast<std::byte>(1U << (random() % 8));
      SimStorage storage(broken);
      const auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual,
                                          SimConfig(), [](const JournalRecord&) {});
      if (!opened.ok()) {
        EXPECT_EQ(opened.error().code, EBADMSG);
        ++refused;
        continue;
      }
      ASSERT_GE(opened.value()->committed_seq(), synced_seq) << name;
      opened.value()->Visit(0, [&](const JournalRecord& record) {
        Bytes got(size_t{record.block_count} * kBlockBytes);
        Bytes want(kBlockBytes);
        if (!opened.value()
                 ->Read(record.addr, record.start_block, record.block_count, got.data())
                 .ok()) {
          ++refused_reads;
          return true;
        }
        for (uint32_t b = 0; b < record.block_count; ++b) {
          FillBlock(model_.records[record.seq - 1].stamp, b, want.data());
          EXPECT_EQ(std::memcmp(want.data(), got.data() + size_t{b} * kBlockBytes, kBlockBytes), 0);
        }
        return true;
      });
    }
  }
  EXPECT_GT(refused, 50U);
  EXPECT_GT(refused_reads, 50U);
}

}  // namespace
}  // namespace weir::test
