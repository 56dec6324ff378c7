// The index at the end of a sealed file.
//
// Invariant: a footer is written only after the file's records, and those of all files before, are
//   durable. So a footer that verifies proves its records, and replay need not read their data.
#pragma once

#include <optional>
#include <vector>

#include "engine/journal/file_window.h"
#include "engine/journal/journal_file.h"

namespace weir::journal {

struct Footer {
  uint64_t first_seq = 0;
  uint32_t end = 0;
  std::vector<IndexEntry> entries;
  std::vector<Lap> laps;
};

// Footer pages of `file`, to be written at file_bytes - size.
[[nodiscard]] std::vector<std::byte> EncodeFooter(const Uid& journal_id, const JournalFile& file);
// The footer of file `number`, nothing if it has none that verifies.
Result<std::optional<Footer>> LoadFooter(FileWindow& window, const Uid& journal_id, uint32_t number,
                                         uint32_t file_bytes);

}  // namespace weir::journal
