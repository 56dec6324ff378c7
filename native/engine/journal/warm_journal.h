// A journal that another process still appends to, read along so that it can be taken over at once.
//
// Thread: one owner.
// Ownership: none of the folder until Adopt(): no lock is held and nothing on disk is changed.
// REQUIRES that the writer recycles no file meanwhile, as one would vanish under its name.
// Crash: nothing to clean up. A writer that dies leaves the folder to a normal Journal::Open().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/journal/journal.h"

namespace weir {

class WarmJournal {
 public:
  using Replay = std::function<void(const JournalRecord&)>;

  // Calls `replay` for every record found so far. ENOENT: there is no journal; else as Journal.
  static Result<std::unique_ptr<WarmJournal>> Open(const JournalConfig& config,
                                                   const Replay& replay);
  static Result<std::unique_ptr<WarmJournal>> OpenOn(std::unique_ptr<journal::JournalDisk> disk,
                                                     const JournalConfig& config,
                                                     const Replay& replay);
  ~WarmJournal();
  WarmJournal(const WarmJournal&) = delete;
  WarmJournal& operator=(const WarmJournal&) = delete;

  [[nodiscard]] const JournalIdentity& identity() const noexcept;
  [[nodiscard]] uint64_t last_seq() const noexcept;

  // Reads on: `replay` gets every record that was committed since, up to `until_seq`, which saves
  // looking for more. The error is a read error; a record that is not whole yet is not one.
  Result<void> CatchUp(uint64_t until_seq, const Replay& replay);
  // Opens the files that the writer will append to next. From here on CatchUp() lists no folder.
  // REQUIRES that the writer's background is at rest.
  Result<void> Prepare();
  // True when what was read is what the writer says it left.
  [[nodiscard]] bool Matches(const JournalHandover& handover) const noexcept;
  // Goes on as the journal's owner, without a sync: what was durable for the writer is durable.
  // REQUIRES Prepare() and Matches(). `lock` is a copy of the writer's.
  static Result<std::unique_ptr<Journal>> Adopt(std::unique_ptr<WarmJournal> warm,
                                                const JournalHandover& handover, UniqueFd lock);

 private:
  struct State;
  explicit WarmJournal(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weir
