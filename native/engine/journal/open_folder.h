// Brings a journal's folder into the state from which appending goes on.
//
// Crash: every step may be repeated. Records that were dropped can never come back: the newest file
//   goes on under a new lap, and all other files behind the end get a new number, before the first
//   append.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/journal/journal_file.h"
#include "engine/journal/mark_file.h"

namespace weir::journal {

struct OpenFolder {
  Meta meta;
  MarkFile mark;
  std::vector<JournalFile> live;  // in order; all but perhaps the newest are sealed
  std::vector<JournalFile> spares;
  std::vector<uint32_t> unindexed;  // numbers of live files that are sealed without a footer
  uint64_t tail_seq = 0;
  uint64_t synced_seq = 0;  // records up to here are durable
  uint32_t next_number = 1;
  size_t slots = 0;  // files the journal may have
};

// ENOENT: no journal here; EBADMSG: it does not verify.
Result<Meta> LoadMeta(JournalDisk& disk);

// REQUIRES that the folder is locked.
Result<OpenFolder> OpenOrMakeFolder(JournalDisk& disk, const JournalConfig& config);

}  // namespace weir::journal
