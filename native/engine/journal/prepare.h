// Makes journal files that are ready for appending.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/journal/journal_file.h"

namespace weir::journal {

enum class FileFill : uint8_t {
  kReserve,  // space only: quick, but syncs of first writes also commit metadata
  kZeros,    // written through, so that a later fdatasync has no metadata to commit
};

struct NewFile {
  uint32_t number = 0;
  uint32_t bytes = 0;
  FileFill fill = FileFill::kReserve;
  const std::atomic<bool>* stop = nullptr;   // ECANCELED soon after it becomes true
  const std::atomic<bool>* hurry = nullptr;  // once true, what has no zeros yet is only reserved
};

// Makes a new file under its final name, name and size durable, and sets number, fd and written_to
// of `file`. After an error nothing of it counts.
Result<void> MakeFile(JournalDisk& disk, const NewFile& wanted, JournalFile& file);

// One write of zeros over [offset, offset + bytes). REQUIRES bytes <= kZerosBytesMax.
inline constexpr uint32_t kZerosBytesMax = 1U << 20;
Result<void> WriteZeros(JournalDisk& disk, int fd, uint64_t offset, uint32_t bytes);

// Gives a file that holds nothing of worth the number `to`, which makes its old bytes unreadable.
// Durable after SyncDirectory().
Result<void> RenumberFile(JournalDisk& disk, JournalFile& file, uint32_t to);

// True when preparing a file may succeed later without anybody repairing anything.
[[nodiscard]] bool IsShortage(int code) noexcept;

// Name of the file being made; left behind by a crash it is garbage.
inline constexpr const char* kUnfinishedName = "unfinished";

}  // namespace weir::journal
