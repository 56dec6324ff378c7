// Reads a journal file front to back through one buffer, without mapping it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/journal/journal_disk.h"

namespace weir::journal {

class FileWindow {
 public:
  FileWindow(JournalDisk& disk, int fd) : disk_(disk), fd_(fd) {}

  // `bytes` bytes at `offset`, valid until the next call; zeros behind the file's end. A read error
  // is an error, never an end of the records.
  Result<std::span<const std::byte>> At(uint64_t offset, size_t bytes);

 private:
  JournalDisk& disk_;
  int fd_;
  uint64_t begin_ = 0;
  size_t ahead_ = 16U << 10;  // grows while the file is read on, as few want more than its header
  std::vector<std::byte> buffer_;
};

}  // namespace weir::journal
