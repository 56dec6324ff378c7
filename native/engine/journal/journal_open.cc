// Inspect() and Open(): from a folder to a Journal.
#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "engine/journal/journal_state.h"
#include "engine/journal/open_folder.h"

namespace weir {
namespace {

JournalIdentity IdentityOf(const journal::Meta& meta) {
  return {.journal_id = meta.journal_id,
          .volume = meta.volume,
          .base_epoch = meta.base_epoch,
          .base_seq = meta.base_seq};
}

}  // namespace

Result<JournalIdentity> Journal::Inspect(const std::string& directory) {
  const auto disk = journal::MakePosixDisk(directory);
  const auto meta = journal::LoadMeta(*disk);
  if (!meta.ok()) return meta.error();
  return IdentityOf(meta.value());
}

Result<std::unique_ptr<Journal>> Journal::Open(
    const JournalConfig& config, const std::function<void(const JournalRecord&)>& replay) {
  return OpenOn(journal::MakePosixDisk(config.directory), journal::BackgroundMode::kThread, config,
                replay);
}

Result<std::unique_ptr<Journal>> Journal::OpenOn(
    std::unique_ptr<journal::JournalDisk> disk, journal::BackgroundMode mode,
    const JournalConfig& config, const std::function<void(const JournalRecord&)>& replay) {
  if (const auto locked = disk->Lock(); !locked.ok()) return locked.error();
  auto opened = journal::OpenOrMakeFolder(*disk, config);
  if (!opened.ok()) return opened.error();
  auto journal = Assemble(std::move(disk), mode, config.epoch, opened.value());
  if (!journal.ok()) return journal;
  journal.value()->Visit(0, [&](const JournalRecord& record) {
    replay(record);
    return true;
  });
  return journal;
}

Result<std::unique_ptr<Journal>> Journal::Assemble(std::unique_ptr<journal::JournalDisk> disk,
                                                   journal::BackgroundMode mode, uint64_t epoch,
                                                   journal::OpenFolder& folder) {
  UniqueFd ready(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!ready.valid()) return Error{errno, "cannot make the journal's eventfd"};

  journal::JournalDisk& files_disk = *disk;
  auto state =
      std::make_unique<State>(std::move(disk), IdentityOf(folder.meta), folder.slots, epoch,
                              journal::Background::Options{.disk = files_disk,
                                                           .journal_id = folder.meta.journal_id,
                                                           .file_bytes = folder.meta.file_bytes,
                                                           .next_number = folder.next_number,
                                                           .mode = mode},
                              std::move(folder.mark), std::move(ready));
  const auto place = [&](journal::JournalFile& file) {
    journal::JournalFile* slot = state->files.TakeUnmade();
    *slot = std::move(file);
    return slot;
  };
  for (journal::JournalFile& file : folder.live) state->files.AddLive(place(file));
  for (journal::JournalFile& file : folder.spares) state->files.AddSpare(place(file));
  state->appender.Begin(folder.tail_seq);
  state->ledger.NoteSynced(folder.synced_seq);
  state->rotated = state->files.live().size() > 1;
  state->background.Start();
  for (journal::JournalFile* file : state->files.live()) {
    for (const uint32_t number : folder.unindexed) {
      if (file->number == number) state->background.Seal(file);
    }
  }
  return std::unique_ptr<Journal>(new Journal(std::move(state)));
}

}  // namespace weir
