// Which files of a journal's folder still count, and where its records end.
//
// Rule: the records form one chain of sequence numbers through the files in number order. The chain
//   ends at the first record that is missing or does not verify. Everything behind is dropped,
//   unless something proves that the missing record had been durable: then it is corruption (I8).
#pragma once

#include <vector>

#include "engine/journal/journal_file.h"
#include "engine/journal/mark_file.h"

namespace weir::journal {

struct ReplaySource {
  JournalDisk& disk;
  Uid journal_id;
  uint32_t file_bytes = 0;
  MarkFile::Values mark;
  uint64_t stable_seq = 0;  // the log has the records up to here
  // Another process appends meanwhile: only looks, and takes what it finds so far for the whole.
  bool live = false;
};

struct Replayed {
  std::vector<JournalFile> files;      // hold the surviving records, all above the mark's floor
  std::vector<JournalFile> leftovers;  // hold nothing that counts; only number and fd are set
  uint64_t tail_seq = 0;               // last surviving record, or the floor
  uint32_t highest_number = 0;
};

// EBADMSG: a record that had been durable is gone or does not verify. Not if the log has every
// record of which there is a trace: then nothing was lost that cannot be read from there.
Result<Replayed> ReplayFiles(const ReplaySource& source);

}  // namespace weir::journal
