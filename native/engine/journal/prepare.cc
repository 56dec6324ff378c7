#include "engine/journal/prepare.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace weir::journal {
namespace {

constexpr uint32_t kZeroPartBytes = 64U << 10;
constexpr uint32_t kSyncEveryBytes = 8U << 20;  // bounds what a flush may have to wait behind

alignas(kPageBytes) constinit std::array<std::byte, kZeroPartBytes> zeros{};

// Writes zeros from the front on; the result is how far it came before the writers became
// impatient.
Result<uint32_t> FillZeros(JournalDisk& disk, int fd, const NewFile& wanted) {
  uint32_t unsynced = 0;
  for (uint32_t offset = 0; offset < wanted.bytes;) {
    if (wanted.stop != nullptr && wanted.stop->load()) {
      return Error{ECANCELED, "the journal is closing"};
    }
    if (wanted.hurry != nullptr && wanted.hurry->load()) return offset;
    const uint32_t bytes = std::min(kZerosBytesMax, wanted.bytes - offset);
    if (const auto put = WriteZeros(disk, fd, offset, bytes); !put.ok()) return put.error();
    offset += bytes;
    unsynced += bytes;
    if (unsynced < kSyncEveryBytes) continue;
    if (const auto synced = disk.Sync(fd); !synced.ok()) return synced.error();
    unsynced = 0;
  }
  return kAllWritten;
}

// The result is written_to.
Result<uint32_t> Fill(JournalDisk& disk, int fd, const NewFile& wanted) {
  if (const auto sized = disk.Preallocate(fd, wanted.bytes); !sized.ok()) return sized.error();
  uint32_t written_to = 0;
  if (wanted.fill == FileFill::kZeros) {
    const auto filled = FillZeros(disk, fd, wanted);
    if (!filled.ok()) return filled;
    written_to = filled.value();
  }
  if (const auto synced = disk.Sync(fd); !synced.ok()) return synced.error();
  return written_to;
}

}  // namespace

Result<void> WriteZeros(JournalDisk& disk, int fd, uint64_t offset, uint32_t bytes) {
  std::array<iovec, kZerosBytesMax / kZeroPartBytes> parts;
  size_t used = 0;
  for (uint32_t left = bytes; left > 0; left -= std::min(left, kZeroPartBytes)) {
    parts[used++] = {zeros.data(), std::min(left, kZeroPartBytes)};
  }
  return disk.Write(fd, std::span(parts).first(used), offset);
}

Result<void> MakeFile(JournalDisk& disk, const NewFile& wanted, JournalFile& file) {
  auto fd = DiskFd::Open(disk, kUnfinishedName, JournalDisk::OpenMode::kMakeEmpty);
  if (!fd.ok()) return fd.error();
  const auto filled = Fill(disk, fd.value().get(), wanted);
  if (!filled.ok()) {
    fd.value().Reset();
    (void)disk.Remove(kUnfinishedName);  // gives the space back; the next try starts anew anyway
    return filled.error();
  }
  if (const auto named = disk.Rename(kUnfinishedName, FileName(wanted.number)); !named.ok()) {
    return named;
  }
  if (const auto synced = disk.SyncDirectory(); !synced.ok()) return synced;
  file.number = wanted.number;
  file.fd = std::move(fd.value());
  file.written_to = filled.value();
  return {};
}

Result<void> RenumberFile(JournalDisk& disk, JournalFile& file, uint32_t to) {
  if (const auto named = disk.Rename(FileName(file.number), FileName(to)); !named.ok())
    return named;
  file.number = to;
  return {};
}

bool IsShortage(int code) noexcept {
  return code == ENOSPC || code == EDQUOT || code == EMFILE || code == ENFILE || code == ENOMEM;
}

}  // namespace weir::journal
