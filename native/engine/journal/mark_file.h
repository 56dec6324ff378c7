// The journal's `mark`: how far its files may be gone (floor), how far they are surely durable.
//
// Thread: one user at a time (Open(), then the background thread, then the destructor).
// Crash: two slots written in turn, so one of them always holds; a floor counts only once synced.
#pragma once

#include <cstdint>

#include "engine/journal/disk_fd.h"
#include "engine/journal/journal_format.h"

namespace weir::journal {

class MarkFile {
 public:
  enum class Durable : bool { kNo, kYes };
  struct Values {
    uint64_t floor_seq = 0;
    uint64_t synced_seq = 0;
    uint64_t closed_seq = 0;
  };

  // Makes the file anew, both slots durable except for its name.
  static Result<MarkFile> Make(JournalDisk& disk, const Uid& journal_id, const Values& values);
  // EBADMSG when no slot is valid for this journal.
  static Result<MarkFile> Load(JournalDisk& disk, const Uid& journal_id);

  [[nodiscard]] const Values& values() const noexcept { return values_; }
  Result<void> Write(const Values& values, Durable durable);

 private:
  MarkFile(JournalDisk& disk, const Uid& journal_id, DiskFd fd)
      : disk_(&disk), journal_id_(journal_id), fd_(std::move(fd)) {}

  JournalDisk* disk_;
  Uid journal_id_;
  DiskFd fd_;
  uint64_t revision_ = 0;
  Values values_;
};

}  // namespace weir::journal
