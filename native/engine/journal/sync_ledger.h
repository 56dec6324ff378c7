// What is committed, what is durable, and which files a sync has to cover.
//
// Thread: the owner's.
// Invariant: a file is among fds() exactly while it holds a committed record above synced_seq().
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/journal/file_set.h"

namespace weir::journal {

class SyncLedger {
 public:
  explicit SyncLedger(const FileSet& files) : files_(files) { fds_.reserve(files.slot_count()); }

  [[nodiscard]] uint64_t synced_seq() const noexcept { return synced_seq_; }
  [[nodiscard]] std::span<const int> fds() const noexcept { return fds_; }

  void NoteSynced(uint64_t seq) {
    synced_seq_ = std::max(synced_seq_, seq);
    Rebuild();
  }
  // After a commit. In most of them nothing changes: the newest file took records before.
  void NoteCommitted() {
    const auto& live = files_.live();
    if (fds_.empty() || live.empty() || fds_.back() != live.back()->fd.get()) Rebuild();
  }
  // After files came or went. Looks only at files that are not durable yet.
  void Rebuild() {
    fds_.clear();
    for (const JournalFile* file : files_.retiring()) Add(*file);
    const auto& live = files_.live();
    size_t begin = live.size();
    while (begin > 0 && live[begin - 1]->last_seq() > synced_seq_) --begin;
    for (size_t i = begin; i < live.size(); ++i) Add(*live[i]);
  }

 private:
  void Add(const JournalFile& file) {
    if (file.last_seq() > synced_seq_) fds_.push_back(file.fd.get());
  }

  const FileSet& files_;
  uint64_t synced_seq_ = 0;
  std::vector<int> fds_;
};

}  // namespace weir::journal
