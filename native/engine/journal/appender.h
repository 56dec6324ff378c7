// Staging and committing: lays records out in the newest file and writes them as whole pages.
//
// Thread: the owner's.
// Invariants: (1) every write covers whole pages and begins with an unchanged copy of the last
// page's
//   bytes, so the kernel never has to read a page and a torn write cannot damage older records;
//   (2) between Stage*() and Commit() only memory changes.
// Allocation: none per record once the vectors have grown to the largest round.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/journal/file_set.h"

namespace weir::journal {

class Appender {
 public:
  Appender(JournalDisk& disk, FileSet& files, const Uid& volume, uint64_t epoch);

  // Goes on behind `tail_seq`.
  void Begin(uint64_t tail_seq);

  [[nodiscard]] bool CanStage(uint32_t data_blocks) const noexcept;
  // REQUIRES CanStage(header.block_count) when `data` is given, else CanStage(0). Of `header` the
  // type, start_block and block_count count. `synced_seq`: records known to be durable.
  JournalRecord Stage(RecordHeader header, const std::byte* data, uint64_t synced_seq);
  // Writes everything staged; after an error the journal is over.
  Result<void> Commit();
  // Somebody waited for a sync: see ZeroAhead().
  void NoteSynced() noexcept { synced_ = true; }

  [[nodiscard]] uint64_t committed_seq() const noexcept { return committed_seq_; }
  // Files that took their last record; the caller sees to their seals after Commit().
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
  std::byte* AddMeta(size_t bytes);
  static void SumBlocks(const RecordHeader& header, const std::byte* data, std::byte* prefixes);
  Result<void> CommitFile(std::span<const Staged> records);
  void GatherFileHeader(const JournalFile& file);
  void GatherRecord(const Staged& record);
  template <size_t kBytes>
  void GatherFixed(const std::byte* data);
  void Gather(const std::byte* data, size_t bytes);
  void PutGathered();
  Result<void> ZeroAhead(JournalFile& file, uint32_t end);

  JournalDisk& disk_;
  FileSet& files_;
  const Uid volume_;
  const uint64_t epoch_;
  uint64_t next_seq_ = 1;
  uint64_t committed_seq_ = 0;
  std::vector<Staged> staged_;
  std::vector<std::byte> meta_;
  size_t meta_used_ = 0;
  std::vector<JournalFile*> full_;
  bool synced_ = false;  // since zeros were last written ahead

  // A commit is copied together and written in pieces: one copy that stays in the cache costs the
  // kernel less than a vector entry per block (measured: 6.7 us against 9.3 us for 128 KiB).
  std::vector<std::byte> gather_;
  size_t gathered_ = 0;
  size_t gather_limit_ = 0;  // where a page of the file ends
  int gather_fd_ = -1;
  uint64_t gather_offset_ = 0;
  Result<void> gather_result_;
};

}  // namespace weir::journal
