// Staging and committing: lays records out in the newest file and writes them as whole pages.
//
// Thread: the owner's.
// Invariants: (1) every write covers whole pages and begins with an unchanged copy of the last
// page's
//   bytes, so the kernel never has to read a page and a torn write cannot damage older records;
//   (2) between Stage*() and Commit() only memory changes.
// Allocation: none per record once the vectors have grown to the largest round.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <sys/uio.h>

#include "engine/journal/file_set.h"

namespace weir::journal {

class Appender {
 public:
  Appender(JournalDisk& disk, FileSet& files, const Uid& volume, uint64_t epoch);

  // Goes on behind `tail_seq`. When the newest live file is not sealed, `tail_page` is the part of
  // its last page in front of its end.
  void Begin(uint64_t tail_seq, std::span<const std::byte> tail_page);

  [[nodiscard]] bool CanStage(uint32_t data_blocks) const noexcept;
  // REQUIRES CanStage(header.block_count) when `data` is given, else CanStage(0). Of `header` the
  // type, start_block and block_count count. `synced_seq`: records known to be durable.
  JournalRecord Stage(RecordHeader header, const std::byte* data, uint64_t synced_seq);
  // Writes everything staged; after an error the journal is over.
  Result<void> Commit();

  [[nodiscard]] uint64_t committed_seq() const noexcept { return committed_seq_; }
  // Files that took their last record; the caller has them sealed after Commit().
  [[nodiscard]] std::vector<JournalFile*>& full() noexcept { return full_; }
  [[nodiscard]] uint64_t memory_bytes() const noexcept;

 private:
  struct Staged {
    JournalFile* file = nullptr;
    const std::byte* data = nullptr;  // the caller's; nullptr: no blocks
    size_t meta = 0;                  // offset in meta_ of the header, block prefixes behind it
    uint32_t blocks = 0;
    uint32_t offset = 0;
  };

  JournalFile* FileFor(uint32_t bytes);
  void StageBlocks(const RecordHeader& header, const std::byte* data);
  Result<void> CommitFile(std::span<const Staged> records);
  void GatherHead(const JournalFile& file, uint32_t first_offset);
  void GatherRecord(const Staged& record);
  void KeepTail(uint32_t end);
  Result<void> WriteParts(int fd, uint64_t offset);

  JournalDisk& disk_;
  FileSet& files_;
  const Uid volume_;
  const uint64_t epoch_;
  uint64_t next_seq_ = 1;
  uint64_t committed_seq_ = 0;
  std::vector<Staged> staged_;
  std::vector<std::byte> meta_;
  std::vector<iovec> parts_;
  std::vector<JournalFile*> full_;
  // Copies of the newest file's last page, used in turn: the next one is built from the parts of a
  // write, the first of which is the current one.
  std::array<std::array<std::byte, kPageBytes>, 2> tails_{};
  size_t tail_ = 0;
  std::array<std::byte, kPageBytes> file_header_{};
};

}  // namespace weir::journal
