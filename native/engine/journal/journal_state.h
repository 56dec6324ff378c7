// The parts of an open journal, in the order in which they depend on each other.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "engine/journal/appender.h"
#include "engine/journal/background.h"
#include "engine/journal/file_set.h"
#include "engine/journal/journal.h"
#include "engine/journal/journal_disk.h"
#include "engine/journal/sync_ledger.h"

namespace weir {

struct Journal::State {
  State(std::unique_ptr<journal::JournalDisk> the_disk, const JournalIdentity& the_identity,
        size_t slots, uint64_t epoch, const journal::Background::Options& options,
        journal::MarkFile mark, UniqueFd ready)
      : disk(std::move(the_disk)),
        identity(the_identity),
        files(the_identity.journal_id, options.file_bytes, slots),
        unsealed_max(std::min(kUnsealedBytesMax / options.file_bytes, slots / 4)),
        ledger(files),
        appender(*disk, files, the_identity.volume, epoch),
        background(options, std::move(mark), std::move(ready)) {}

  static constexpr size_t kUnsealedBytesMax = 256U << 20;

  [[nodiscard]] bool HasFailed() const noexcept { return failed || background.failed(); }
  // Takes in what the background finished.
  void Absorb();
  // The appender has filled files.
  void Rotate();
  // Has full files sealed whose records are durable, or that are too many to wait any longer.
  void SealDue();
  [[nodiscard]] bool LacksSpares() const noexcept {
    return files.spare_count() + spares_coming < (rotated ? 2U : 1U);
  }
  // Has as many files prepared as the journal's pace calls for.
  void WantSpares();

  std::unique_ptr<journal::JournalDisk> disk;
  JournalIdentity identity;
  journal::FileSet files;
  const size_t unsealed_max;  // full files that wait for somebody to sync
  journal::SyncLedger ledger;
  journal::Appender appender;
  journal::Background background;
  std::vector<journal::Background::Done> done;
  std::deque<journal::JournalFile*> awaiting_seal;  // in order, not yet with the background
  size_t spares_coming = 0;                         // handed to the background, not back yet
  bool rotated = false;
  bool failed = false;
};

}  // namespace weir
