// Owns a descriptor of a JournalDisk, which must outlive it.
#pragma once

#include <utility>

#include "engine/journal/journal_disk.h"

namespace weir::journal {

class DiskFd {
 public:
  DiskFd() = default;
  DiskFd(JournalDisk& disk, int fd) noexcept : disk_(&disk), fd_(fd) {}
  DiskFd(DiskFd&& other) noexcept : disk_(other.disk_), fd_(std::exchange(other.fd_, -1)) {}
  DiskFd& operator=(DiskFd&& other) noexcept {
    if (this != &other) {
      Reset();
      disk_ = other.disk_;
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  DiskFd(const DiskFd&) = delete;
  DiskFd& operator=(const DiskFd&) = delete;
  ~DiskFd() { Reset(); }

  // Opens `name`; the error is the disk's.
  static Result<DiskFd> Open(JournalDisk& disk, const std::string& name,
                             JournalDisk::OpenMode mode) {
    const Result<int> fd = disk.Open(name, mode);
    if (!fd.ok()) return fd.error();
    return DiskFd(disk, fd.value());
  }

  [[nodiscard]] int get() const noexcept { return fd_; }
  void Reset() noexcept {
    if (fd_ >= 0) disk_->Close(std::exchange(fd_, -1));
  }

 private:
  JournalDisk* disk_ = nullptr;
  int fd_ = -1;
};

}  // namespace weir::journal
