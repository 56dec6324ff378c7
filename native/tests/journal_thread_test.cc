// Goal: the owner's thread, the background thread and a reading worker share the journal safely.
// Method: many commits with recycling on a real folder while a worker reads what it was handed and
//   compares every block. Runs under TSan as well.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/journal/journal.h"
#include "tests/support/journal_model.h"
#include "tests/support/scratch_folder.h"

namespace weir::test {
namespace {

struct Handed {
  JournalRecord record;
  uint64_t stamp = 0;
};

// Records on their way to the worker; the owner recycles a file only when none of them is in it.
class Handover {
 public:
  void Put(const Handed& one) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(one);
  }
  // The oldest record; it stays counted until Done().
  bool Front(Handed* one) {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return false;
    *one = queue_.front();
    return true;
  }
  void Done() {
    const std::lock_guard lock(mutex_);
    queue_.pop_front();
  }
  bool NeedsFile(uint32_t number) {
    const std::lock_guard lock(mutex_);
    return !queue_.empty() && queue_.front().record.addr.file() <= number;
  }

 private:
  std::mutex mutex_;
  std::deque<Handed> queue_;
};

void ReadAll(const Journal& journal, Handover& handover, const std::atomic<bool>& stop,
             std::atomic<size_t>& wrong) {
  Bytes got(4 * kBlockBytes);
  Bytes want(kBlockBytes);
  for (Handed one; !stop || handover.Front(&one);) {
    if (!handover.Front(&one)) {
      std::this_thread::yield();
      continue;
    }
    const JournalRecord& record = one.record;
    if (!journal.Read(record.addr, record.start_block, record.block_count, got.data()).ok())
      ++wrong;
    for (uint32_t i = 0; i < record.block_count; ++i) {
      FillBlock(one.stamp, i, want.data());
      if (std::memcmp(got.data() + size_t{i} * kBlockBytes, want.data(), kBlockBytes) != 0) ++wrong;
    }
    handover.Done();
  }
}

TEST(JournalThread, OwnerBackgroundAndReaderWorkSideBySide) {
  const ScratchFolder folder;
  JournalConfig config = SimConfig();
  config.directory = folder.path() + "/journal";
  auto opened = Journal::Open(config, [](const JournalRecord&) {});
  ASSERT_TRUE(opened.ok());
  Journal& journal = *opened.value();
  Handover handover;
  std::atomic<bool> stop{false};
  std::atomic<size_t> wrong{0};
  std::thread worker([&] { ReadAll(journal, handover, stop, wrong); });

  Bytes data(4 * kBlockBytes);
  size_t recycled = 0;
  for (uint64_t stamp = 0; stamp < 1500; ++stamp) {
    const auto blocks = static_cast<uint32_t>(1 + stamp % 4);
    while (!journal.CanStage(blocks)) {
      const Journal::FileInfo oldest = journal.oldest_file();
      if (oldest.sealed && !handover.NeedsFile(oldest.number)) {
        ASSERT_TRUE(journal.RecycleOldest().ok());
        ++recycled;
      }
      pollfd ready{journal.ready_fd(), POLLIN, 0};
      (void)::poll(&ready, 1, 1);
      journal.OnReady();
      ASSERT_FALSE(journal.failed());
    }
    for (uint32_t i = 0; i < blocks; ++i)
      FillBlock(stamp, i, data.data() + size_t{i} * kBlockBytes);
    const JournalRecord record = journal.StageWrite(stamp % 7, blocks, data.data());
    ASSERT_TRUE(journal.Commit().ok());
    handover.Put({record, stamp});
    if (stamp % 64 == 0) {
      for (const int fd : journal.sync_fds()) ASSERT_EQ(::fdatasync(fd), 0);
      journal.MarkSynced(journal.committed_seq());
    }
  }
  stop = true;
  worker.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(recycled, 100U);
}

}  // namespace
}  // namespace weir::test
