// Goal: an error of the disk is final and never papered over (L4); lack of space is not (L5).
// Method: every operation of a workload fails once, with EIO or ENOSPC, on the simulated disk.
#include <gtest/gtest.h>

#include <cerrno>

#include "engine/journal/background.h"
#include "tests/support/journal_model.h"

namespace weir::test {
namespace {

std::unique_ptr<Journal> OpenOn(SimStorage& storage, int* code = nullptr) {
  auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, SimConfig(),
                                [](const JournalRecord&) {});
  if (code != nullptr) *code = opened.ok() ? 0 : opened.error().code;
  return opened.ok() ? std::move(opened.value()) : nullptr;
}

TEST(JournalFault, AFailedWriteIsFinal) {
  SimStorage storage;
  const auto journal = OpenOn(storage);
  const Bytes data(kBlockBytes);
  (void)journal->StageWrite(0, 1, data.data());
  ASSERT_TRUE(journal->Commit().ok());
  bool broken = true;
  storage.fault = [&](const SimOp& op) {
    return broken && op.kind == SimOpKind::kWrite ? ENOSPC : 0;
  };
  (void)journal->StageWrite(0, 1, data.data());
  const auto failed = journal->Commit();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, EIO);
  EXPECT_TRUE(journal->failed());
  EXPECT_EQ(journal->committed_seq(), 1U);
  broken = false;
  const size_t before = storage.op_count();
  EXPECT_FALSE(journal->Commit().ok());
  EXPECT_EQ(storage.op_count(), before);
}

TEST(JournalFault, AFailedSyncIsFinalAndNeverCountsAsDone) {
  SimStorage storage;
  const auto journal = OpenOn(storage);
  const Bytes data(kBlockBytes);
  (void)journal->StageWrite(0, 1, data.data());
  ASSERT_TRUE(journal->Commit().ok());
  journal->MarkFailed();
  EXPECT_TRUE(journal->failed());
  journal->MarkSynced(1);  // a sync that was on its way as well
  EXPECT_EQ(journal->synced_seq(), 0U);
  EXPECT_FALSE(journal->Commit().ok());
}

// After a failed sync the page cache still shows what the disk refused; a restart must not replay
// it as durable.
TEST(JournalFault, WhatAFailedSyncLostIsNotReplayed) {
  SimStorage storage;
  auto journal = OpenOn(storage);
  const Bytes data(kBlockBytes);
  (void)journal->StageWrite(0, 1, data.data());
  ASSERT_TRUE(journal->Commit().ok());
  ASSERT_TRUE(storage.Sync(journal->sync_fds()[0]).ok());
  journal->MarkSynced(1);
  (void)journal->StageWrite(0, 1, data.data());
  ASSERT_TRUE(journal->Commit().ok());
  storage.fault = [](const SimOp& op) { return op.kind == SimOpKind::kSync ? EIO : 0; };
  EXPECT_FALSE(storage.Sync(journal->sync_fds()[0]).ok());
  journal->MarkFailed();
  journal.reset();
  storage.fault = nullptr;
  journal = OpenOn(storage);
  ASSERT_NE(journal, nullptr);
  EXPECT_EQ(journal->committed_seq(), 1U);
}

TEST(JournalFault, WhatAFailedSyncLostInOpenIsNotReplayedLater) {
  SimStorage storage;
  auto journal = OpenOn(storage);
  const Bytes data(kBlockBytes);
  (void)journal->StageWrite(0, 1, data.data());
  ASSERT_TRUE(journal->Commit().ok());
  journal.reset();  // closes properly, with a record that no sync has covered
  storage.fault = [](const SimOp& op) { return op.kind == SimOpKind::kSync ? EIO : 0; };
  EXPECT_EQ(OpenOn(storage), nullptr);
  storage.fault = nullptr;
  journal = OpenOn(storage);
  ASSERT_NE(journal, nullptr);
  EXPECT_EQ(journal->committed_seq(), 0U);
}

TEST(JournalFault, AFailureInTheBackgroundReachesTheOwner) {
  SimStorage storage;
  const auto journal = OpenOn(storage);
  const Bytes data(4 * kBlockBytes);
  const uint32_t first = journal->StageWrite(0, 4, data.data()).addr.file();
  ASSERT_TRUE(journal->Commit().ok());
  for (uint32_t file = first; file == first;) {
    while (!journal->CanStage(4)) journal->OnReady();
    file = journal->StageWrite(0, 4, data.data()).addr.file();
    ASSERT_TRUE(journal->Commit().ok());
  }
  storage.fault = [](const SimOp& op) { return op.kind == SimOpKind::kSync ? EIO : 0; };
  journal->OnReady();  // the seal
  EXPECT_TRUE(journal->failed());
  EXPECT_EQ(journal->synced_seq(), 0U);
  EXPECT_FALSE(journal->Commit().ok());
}

TEST(JournalFault, LackOfSpaceForTheNextFileOnlyWaits) {
  SimStorage storage;
  const auto journal = OpenOn(storage);
  bool full = true;
  storage.fault = [&](const SimOp& op) {
    return full && op.kind == SimOpKind::kResize ? ENOSPC : 0;
  };
  const Bytes data(4 * kBlockBytes);
  while (journal->CanStage(4)) {
    (void)journal->StageWrite(0, 4, data.data());
    ASSERT_TRUE(journal->Commit().ok());
  }
  for (int i = 0; i < 5; ++i) journal->OnReady();
  EXPECT_FALSE(journal->CanStage(4));
  EXPECT_FALSE(journal->failed());
  EXPECT_EQ(journal->last_prepare_error(), ENOSPC);
  full = false;
  for (int i = 0; i < 5; ++i) journal->OnReady();
  EXPECT_TRUE(journal->CanStage(4));
  EXPECT_EQ(journal->last_prepare_error(), 0);
}

TEST(JournalFault, OpensOnAFullDisk) {
  SimStorage storage;
  bool full = true;
  storage.fault = [&](const SimOp& op) {
    return full && op.kind == SimOpKind::kResize ? ENOSPC : 0;
  };
  const auto journal = OpenOn(storage);
  ASSERT_NE(journal, nullptr);
  EXPECT_FALSE(journal->CanStage(0));
  journal->OnReady();
  EXPECT_FALSE(journal->CanStage(0));
  EXPECT_EQ(journal->last_prepare_error(), ENOSPC);
  full = false;
  journal->OnReady();
  EXPECT_TRUE(journal->CanStage(0));
}

// Whatever operation fails, whenever: the journal says so, and what it had promised survives.
TEST(JournalFault, EveryOperationMayFailOnce) {
  SimStorage dry;
  JournalUnderTest rehearsal(dry, {}, 21);
  ASSERT_EQ(rehearsal.Open(), "");
  for (int step = 0; step < 60; ++step) ASSERT_TRUE(rehearsal.Step());
  rehearsal.Close();
  size_t refused_opens = 0;
  size_t failures = 0;
  for (size_t at = 0; at < dry.op_count(); at += 1 + at / 40) {
    SimStorage storage;
    size_t count = 0;
    storage.fault = [&](const SimOp&) { return count++ == at ? EIO : 0; };
    JournalUnderTest under_test(storage, {}, 21);
    if (!under_test.Open().empty()) {
      ++refused_opens;
    } else {
      bool going = true;
      for (int step = 0; step < 60 && going; ++step) going = under_test.Step();
      if (!going) ++failures;
      EXPECT_EQ(going, !under_test.failed()) << at;
      under_test.Close();
    }
    storage.fault = nullptr;
    std::mt19937_64 random(at);
    PowerCut power(storage);
    power.AdvanceTo(storage.op_count());
    for (const CutMode mode : kCutModes) {
      SimStorage after(power.Cut(mode, random));
      uint64_t tail = 0;
      EXPECT_EQ(CheckSurvivors(after, under_test.model(), under_test.expectations().back(), &tail),
                "")
          << "failed operation " << at;
    }
  }
  EXPECT_GT(refused_opens, 5U);
  EXPECT_GT(failures, 20U);
}

}  // namespace
}  // namespace weir::test
