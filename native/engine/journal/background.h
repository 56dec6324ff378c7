// What the journal does behind its owner's back: seals full files, prepares files, writes the mark.
//
// Thread: owns one thread. All public methods are the owner's; a file handed over belongs to the
//   background until its completion is taken.
// Crash: jobs run in the order given, each durable before the next begins, so that files end up
//   sealed and recycled in the order of their records. New numbers are given out here, in the order
//   in which files become ready.
// Failure: no space (disk or descriptors) for a new file is retried after a pause; every other one
//   is final for the journal.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/journal/journal_file.h"
#include "engine/journal/mark_file.h"

namespace weir::journal {

enum class BackgroundMode : uint8_t {
  kThread,
  kManual,  // no thread and no pauses: every Take() first does one piece of work (tests)
};

class Background {
 public:
  struct Done {
    enum class Kind : uint8_t { kSealed, kReady };
    Kind kind = Kind::kReady;
    JournalFile* file = nullptr;
  };
  struct Options {
    JournalDisk& disk;
    Uid journal_id;
    uint32_t file_bytes = 0;
    uint32_t next_number = 1;
    BackgroundMode mode = BackgroundMode::kThread;
  };

  Background(const Options& options, MarkFile mark, UniqueFd ready);
  // Drops what has not begun. `closed_seq` goes into the mark unless the journal failed.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Starts the thread. Called once, when nothing else can fail any more.
  void Start();
  void Seal(JournalFile* file);
  // REQUIRES that the file was sealed before; its records are stable, so the floor may rise to
  // `last_seq`.
  void Recycle(JournalFile* file, uint64_t last_seq);
  void Create(JournalFile* file);
  // A writer waits for the next file: better now than full of zeros. Cheap; lasts for one file.
  void Hurry() noexcept { hurry_ = true; }
  // Finishes what it is at and begins nothing more; when at_rest(), nothing changes on disk until
  // Resume(). What is asked for meanwhile waits.
  void Pause();
  void Resume();
  // Any thread.
  [[nodiscard]] bool at_rest() const noexcept { return at_rest_.load(); }
  // The number that the next new file will get. REQUIRES at_rest().
  [[nodiscard]] uint32_t next_number() const noexcept { return next_number_; }
  // Records up to `seq` are durable. The mark follows within a second.
  void NoteSynced(uint64_t seq);
  // Ends the thread; with `closed_seq` > 0 the mark says that nothing was appended behind it.
  void Stop(uint64_t closed_seq);
  // Appends what was finished since the last call to `done`.
  void Take(std::vector<Done>& done);

  [[nodiscard]] bool has_done() const noexcept { return has_done_.load(); }
  [[nodiscard]] bool failed() const noexcept { return failed_.load(); }
  [[nodiscard]] int last_prepare_error() const noexcept { return prepare_error_.load(); }
  [[nodiscard]] int ready_fd() const noexcept { return ready_.get(); }

 private:
  struct Job {
    enum class Kind : uint8_t { kSeal, kRecycle };
    Kind kind = Kind::kSeal;
    JournalFile* file = nullptr;
    uint64_t last_seq = 0;
  };
  using Clock = std::chrono::steady_clock;

  void Run();
  [[nodiscard]] std::chrono::seconds Pause(std::chrono::seconds pause) const;
  bool RunOne(std::unique_lock<std::mutex>& lock);
  bool RunCreate(std::unique_lock<std::mutex>& lock);
  void WaitForWork(std::unique_lock<std::mutex>& lock);
  Result<void> DoSeal(const JournalFile& file);
  Result<void> DoRecycle(JournalFile& file, uint64_t last_seq);
  Result<void> DoCreate(JournalFile& file);
  Result<void> WriteMark(MarkFile::Durable durable, uint64_t floor_seq);
  Result<uint32_t> NextNumber();
  void Finish(const Done& done, const Result<void>& result);
  void Signal();

  const Options options_;
  MarkFile mark_;
  UniqueFd ready_;
  uint32_t next_number_;
  std::atomic<uint64_t> synced_seq_{0};
  std::atomic<bool> mark_wanted_{false};
  std::atomic<bool> failed_{false};
  std::atomic<bool> hurry_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<int> prepare_error_{0};
  std::atomic<bool> has_done_{false};
  std::atomic<bool> at_rest_{false};  // set by the thread, so that its work is visible with it

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::deque<JournalFile*> create_;
  Clock::time_point create_at_{};  // not before
  Clock::time_point mark_at_{};    // when the wanted mark is due; zero: not noticed yet
  std::vector<Done> done_;
  bool paused_ = false;

  std::thread thread_;
};

}  // namespace weir::journal
