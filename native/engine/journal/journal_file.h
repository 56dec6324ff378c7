// One journal file as the process knows it: its descriptor, its records, where the next one goes.
//
// Thread: the owner's, except that laps, number and fd may be read by any thread while the file is
//   published in the FileSet (they do not change then), and that the background thread has a file
//   to itself between a job's submission and its completion.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/journal/disk_fd.h"
#include "engine/journal/journal_format.h"

namespace weir::journal {

struct Lap {
  uint32_t offset = 0;  // its first record
  uint32_t lap = 0;
  uint32_t seed = 0;
};

inline constexpr uint32_t kAllWritten = std::numeric_limits<uint32_t>::max();

struct JournalFile {
  uint32_t number = 0;
  DiskFd fd;
  uint32_t written_to =
      kAllWritten;  // from here on space is reserved, but nothing was ever written
  uint64_t first_seq = 0;
  uint32_t end = 0;  // where the next record goes
  bool sealed = false;
  std::vector<IndexEntry> entries;  // seq first_seq, first_seq + 1, ...
  std::vector<Lap> laps;            // ascending; never empty once the file takes records

  [[nodiscard]] uint64_t next_seq() const noexcept { return first_seq + entries.size(); }
  [[nodiscard]] uint64_t last_seq() const noexcept { return next_seq() - 1; }

  // True when a record of `bytes` and the footer that will list it fit in `file_bytes`.
  [[nodiscard]] bool HasRoom(uint32_t bytes, uint32_t file_bytes) const noexcept {
    const uint64_t records_end =
        (static_cast<uint64_t>(end) + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    return records_end + FooterBytes(entries.size() + 1, laps.size()) <= file_bytes;
  }
  [[nodiscard]] uint32_t SeedAt(uint32_t offset) const noexcept {
    size_t at = laps.size() - 1;
    while (at > 0 && laps[at].offset > offset) --at;
    return laps[at].seed;
  }
  [[nodiscard]] JournalRecord RecordAt(size_t index) const noexcept {
    const IndexEntry& entry = entries[index];
    const bool data = entry.type() == RecordType::kWrite;
    const auto header = data ? static_cast<uint32_t>(sizeof(RecordHeader)) : 0U;
    return {.seq = first_seq + index,
            .type = entry.type(),
            .start_block = entry.start_block,
            .block_count = entry.block_count,
            .addr = JournalAddr::Of(number, entry.offset() + header)};
  }
  // Makes the file ready for its first record, `seq`.
  void Begin(const Uid& journal_id, uint64_t seq) {
    first_seq = seq;
    end = kFileHeaderBytes;
    sealed = false;
    entries.clear();
    laps.assign(1, {kFileHeaderBytes, 0, LapSeed(journal_id, number, 0)});
  }
};

// "0000002a.jnl" and back; numbers start at 1.
[[nodiscard]] std::string FileName(uint32_t number);
[[nodiscard]] std::optional<uint32_t> ParseFileName(std::string_view name);

}  // namespace weir::journal
