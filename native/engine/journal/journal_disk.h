// Every file operation of a journal, so that a test can stand in for the disk and cut its power.
//
// Thread: the owner's thread and the journal's background thread call concurrently, never on one
//   descriptor except Read(). Files are named relative to the journal's folder.
// Crash: Write() is durable after Sync() of the same file; names after SyncDirectory().
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace weir::journal {

class JournalDisk {
 public:
  enum class OpenMode : uint8_t { kExisting, kMakeEmpty };

  JournalDisk() = default;
  JournalDisk(const JournalDisk&) = delete;
  JournalDisk& operator=(const JournalDisk&) = delete;
  virtual ~JournalDisk() = default;

  // Makes the folder if absent and takes its exclusive lock: EBUSY if another process has it.
  virtual Result<void> Lock() = 0;
  // The descriptor that holds the lock, -1: none. Whoever has a copy of it holds the lock as well.
  [[nodiscard]] virtual int lock_fd() const { return -1; }
  // Instead of Lock(): `lock` came from the process that held the folder so far. EXDEV: it is not
  // this folder's lock.
  virtual Result<void> TakeLock(UniqueFd lock) {
    lock.Reset();
    return {};
  }
  virtual Result<std::vector<std::string>> List() = 0;
  virtual Result<int> Open(const std::string& name, OpenMode mode) = 0;
  virtual void Close(int fd) = 0;
  virtual Result<uint64_t> Size(int fd) = 0;
  // Fills the vectors from `offset` on; the result is short only at the file's end. Changes
  // `parts`.
  virtual Result<uint64_t> Read(int fd, std::span<iovec> parts, uint64_t offset) = 0;
  // All of it or an error. Changes `parts`.
  virtual Result<void> Write(int fd, std::span<iovec> parts, uint64_t offset) = 0;
  virtual Result<void> Sync(int fd) = 0;
  // Later reads of what is synced come from the disk. Memory may hold bytes that the disk refused.
  virtual void DropCache(int fd) = 0;
  // Reserves space and sets the size; the bytes read as zeros.
  virtual Result<void> Preallocate(int fd, uint64_t bytes) = 0;
  virtual Result<void> Rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> Remove(const std::string& name) = 0;
  virtual Result<void> SyncDirectory() = 0;
};

// The real one. Only one thread may use it until Lock() has returned.
std::unique_ptr<JournalDisk> MakePosixDisk(const std::string& directory);

// One contiguous read or write.
inline Result<uint64_t> ReadAt(JournalDisk& disk, int fd, std::span<std::byte> out,
                               uint64_t offset) {
  iovec part{out.data(), out.size()};
  return disk.Read(fd, {&part, 1}, offset);
}
inline Result<void> WriteAt(JournalDisk& disk, int fd, std::span<const std::byte> bytes,
                            uint64_t offset) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  return disk.Write(fd, {&part, 1}, offset);
}

}  // namespace weir::journal
