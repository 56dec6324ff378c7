#include "engine/journal/prepare.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace weir::journal {
namespace {

constexpr size_t kZeroBytes = 64U << 10;
constexpr size_t kZeroParts = 16;
constexpr uint64_t kSyncEveryBytes = 8U << 20;  // bounds what a flush may have to wait behind

alignas(kPageBytes) constinit std::array<std::byte, kZeroBytes> zeros{};

Result<void> WriteZeros(JournalDisk& disk, int fd, const NewFile& wanted) {
  uint64_t unsynced = 0;
  for (uint64_t offset = 0; offset < wanted.bytes;) {
    if (wanted.stop != nullptr && wanted.stop->load()) {
      return Error{ECANCELED, "the journal is closing"};
    }
    if (wanted.hurry != nullptr && wanted.hurry->load()) return {};
    std::array<iovec, kZeroParts> parts;
    size_t used = 0;
    uint64_t bytes = 0;
    while (used < parts.size() && offset + bytes < wanted.bytes) {
      const size_t piece = std::min<uint64_t>(kZeroBytes, wanted.bytes - offset - bytes);
      parts[used++] = {zeros.data(), piece};
      bytes += piece;
    }
    const auto put = disk.Write(fd, std::span(parts).first(used), offset);
    if (!put.ok()) return put;
    offset += bytes;
    unsynced += bytes;
    if (unsynced < kSyncEveryBytes) continue;
    if (const auto synced = disk.Sync(fd); !synced.ok()) return synced;
    unsynced = 0;
  }
  return {};
}

Result<void> Fill(JournalDisk& disk, int fd, const NewFile& wanted) {
  if (const auto sized = disk.Preallocate(fd, wanted.bytes); !sized.ok()) return sized;
  if (wanted.fill == FileFill::kZeros) {
    if (const auto filled = WriteZeros(disk, fd, wanted); !filled.ok()) return filled;
  }
  return disk.Sync(fd);
}

}  // namespace

Result<DiskFd> MakeFile(JournalDisk& disk, const NewFile& wanted) {
  auto fd = DiskFd::Open(disk, kUnfinishedName, JournalDisk::OpenMode::kMakeEmpty);
  if (!fd.ok()) return fd.error();
  if (const auto filled = Fill(disk, fd.value().get(), wanted); !filled.ok()) {
    fd.value().Reset();
    (void)disk.Remove(kUnfinishedName);  // gives the space back; the next try starts anew anyway
    return filled.error();
  }
  if (const auto named = disk.Rename(kUnfinishedName, FileName(wanted.number)); !named.ok()) {
    return named.error();
  }
  if (const auto synced = disk.SyncDirectory(); !synced.ok()) return synced.error();
  return std::move(fd.value());
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
