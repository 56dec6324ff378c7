// The journal's files by what they are for: live (hold records), retiring (on their way to be
// reused), spares (empty and ready), unmade (slots whose file does not exist yet).
//
// Thread: the owner's; Find() may be called from any thread.
// Invariants: live files are ordered by number and by record; a file number names at most one slot.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/journal/journal_file.h"

namespace weir::journal {

class FileSet {
 public:
  FileSet(const Uid& journal_id, uint32_t file_bytes, size_t slots);

  // The live file of that number, nullptr if there is none.
  [[nodiscard]] const JournalFile* Find(uint32_t number) const noexcept;

  [[nodiscard]] const std::deque<JournalFile*>& live() const noexcept { return live_; }
  [[nodiscard]] const std::vector<JournalFile*>& retiring() const noexcept { return retiring_; }
  [[nodiscard]] size_t spare_count() const noexcept { return spares_.size(); }
  [[nodiscard]] size_t unmade_count() const noexcept { return unmade_.size(); }
  [[nodiscard]] size_t slot_count() const noexcept { return files_.size(); }
  [[nodiscard]] uint32_t file_bytes() const noexcept { return file_bytes_; }
  [[nodiscard]] const Uid& journal_id() const noexcept { return journal_id_; }
  [[nodiscard]] uint64_t index_bytes() const noexcept;

  // The file that takes the next record of `bytes`: the newest live one; nullptr if it has no room.
  [[nodiscard]] JournalFile* Appendable(uint32_t bytes) const noexcept;
  // True when an empty file takes a record of `bytes`.
  [[nodiscard]] bool FitsEmpty(uint32_t bytes) const noexcept;

  // REQUIRES unmade_count() > 0. The slot is the caller's until AddLive() or AddSpare().
  [[nodiscard]] JournalFile* TakeUnmade();
  void AddLive(JournalFile* file);
  void AddSpare(JournalFile* file);
  // REQUIRES spare_count() > 0. Makes the oldest spare the newest live file, from record `seq` on.
  JournalFile* Activate(uint64_t seq);
  // REQUIRES a live file. It is not readable any more; AddSpare() takes it back.
  JournalFile* RetireOldest();

 private:
  void Publish(const JournalFile* file, uint32_t number) noexcept;

  Uid journal_id_;
  uint32_t file_bytes_;
  std::vector<JournalFile> files_;                    // never resized: slots are pointed to
  std::unique_ptr<std::atomic<uint32_t>[]> numbers_;  // per slot; 0: not live
  // The slot last published of those numbers that are equal modulo kHints: a guess, which saves a
  // read the search when it is right. Whether it is, its entry in numbers_ says.
  static constexpr uint32_t kHints = 64;
  std::array<std::atomic<uint32_t>, kHints> hints_{};
  std::deque<JournalFile*> live_;
  std::deque<JournalFile*> spares_;
  std::vector<JournalFile*> retiring_;
  std::vector<JournalFile*> unmade_;
};

}  // namespace weir::journal
