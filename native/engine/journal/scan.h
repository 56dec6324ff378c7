// Reads one journal file's records back, and searches behind a broken one for proof that it was
// durable.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/journal/file_window.h"
#include "engine/journal/journal_file.h"

namespace weir::journal {

// Fills file.entries, laps and end by hopping from record to record, each verified with all its
// data, until the first that does not verify or is not the next in sequence. REQUIRES number and
// first_seq.
Result<void> ScanRecords(FileWindow& window, const Uid& journal_id, uint32_t file_bytes,
                         JournalFile& file);
// Goes on where the last scan of this file ended. `window` must be fresh: it keeps what it read.
Result<void> ScanOn(FileWindow& window, const Uid& journal_id, uint32_t file_bytes,
                    JournalFile& file);

// What lies behind the end of the chain says about records.
struct Proof {
  uint64_t synced_seq = 0;  // up to this one they had been durable
  uint64_t seen_seq = 0;    // up to this one they existed

  void Add(const Proof& other) noexcept {
    synced_seq = std::max(synced_seq, other.synced_seq);
    seen_seq = std::max(seen_seq, other.seen_seq);
  }
};

// Gathers it from all record headers of file `number` that verify at or behind `from`, in whatever
// order they lie.
Result<Proof> SearchProof(FileWindow& window, const Uid& journal_id, uint32_t number, uint32_t from,
                          uint32_t file_bytes);

// True when a record verifies at the very place of a file's first one.
Result<bool> FirstRecordVerifies(FileWindow& window, const Uid& journal_id, uint32_t number);

}  // namespace weir::journal
