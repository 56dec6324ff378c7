#include "engine/journal/warm_journal.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <optional>
#include <utility>

#include "engine/base/check.h"
#include "engine/journal/journal_state.h"
#include "engine/journal/open_folder.h"
#include "engine/journal/replay.h"
#include "engine/journal/scan.h"

namespace weir {
namespace {

using journal::DiskFd;
using journal::FileHeader;
using journal::FileWindow;
using journal::JournalDisk;
using journal::JournalFile;

}  // namespace

struct WarmJournal::State {
  // The first record of `file` as its header says; nothing while no record was written to it.
  Result<std::optional<uint64_t>> FirstSeqOf(const JournalFile& file) const;
  // Takes the files that are not known yet into `ahead`.
  Result<void> List();
  Result<void> ScanNewest(const Replay& replay);
  // Moves the file that begins with the next record from `ahead` to `live`. False: there is none.
  Result<bool> StepToNext(const Replay& replay);

  std::unique_ptr<JournalDisk> disk;
  JournalConfig config;
  journal::Meta meta;
  JournalIdentity identity;
  std::vector<JournalFile> live;      // in order; only the newest may grow
  std::vector<JournalFile> ahead;     // behind them by number: spares so far
  std::vector<uint32_t> with_footer;  // live files that were found sealed
  uint64_t tail_seq = 0;
  bool prepared = false;
};

Result<std::optional<uint64_t>> WarmJournal::State::FirstSeqOf(const JournalFile& file) const {
  FileWindow window(*disk, file.fd.get());
  const auto head = window.At(0, sizeof(FileHeader));
  if (!head.ok()) return head.error();
  const auto header = journal::Parse<FileHeader>(head.value());
  const bool begun =
      header && header->number == file.number && header->journal_id == meta.journal_id;
  return begun ? std::optional(header->first_seq) : std::nullopt;
}

Result<void> WarmJournal::State::List() {
  const auto names = disk->List();
  if (!names.ok()) return names.error();
  uint32_t known = live.empty() ? 0 : live.back().number;
  if (!ahead.empty()) known = std::max(known, ahead.back().number);
  for (const std::string& name : names.value()) {
    const auto number = journal::ParseFileName(name);
    if (!number || *number <= known) continue;
    auto fd = DiskFd::Open(*disk, name, JournalDisk::OpenMode::kExisting);
    if (!fd.ok()) return fd.error();
    JournalFile file;
    file.number = *number;
    file.fd = std::move(fd.value());
    ahead.push_back(std::move(file));
  }
  std::sort(ahead.begin(), ahead.end(),
            [](const JournalFile& a, const JournalFile& b) { return a.number < b.number; });
  return {};
}

Result<void> WarmJournal::State::ScanNewest(const Replay& replay) {
  if (live.empty() || live.back().sealed) return {};
  JournalFile& file = live.back();
  const size_t before = file.entries.size();
  FileWindow window(*disk, file.fd.get());
  const auto scanned = journal::ScanOn(window, meta.journal_id, meta.file_bytes, file);
  if (!scanned.ok()) return scanned;
  for (size_t at = before; at < file.entries.size(); ++at) replay(file.RecordAt(at));
  if (!file.entries.empty()) tail_seq = file.last_seq();
  return {};
}

Result<bool> WarmJournal::State::StepToNext(const Replay& replay) {
  if (!prepared) {
    if (const auto listed = List(); !listed.ok()) return listed.error();
  }
  for (size_t at = 0; at < ahead.size(); ++at) {
    const auto first = FirstSeqOf(ahead[at]);
    if (!first.ok()) return first.error();
    if (!first.value()) continue;
    // The writer may have appended to the old file between our look at it and its step to this one.
    if (const auto again = ScanNewest(replay); !again.ok()) return again.error();
    if (*first.value() != tail_seq + 1) return false;
    if (!live.empty()) live.back().sealed = true;
    JournalFile file = std::move(ahead[at]);
    // What lies in front of a file that was begun was passed over by the writer.
    ahead.erase(ahead.begin(), ahead.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    file.Begin(meta.journal_id, tail_seq + 1);
    live.push_back(std::move(file));
    return true;
  }
  return false;
}

WarmJournal::WarmJournal(std::unique_ptr<State> state) : state_(std::move(state)) {}
WarmJournal::~WarmJournal() = default;

const JournalIdentity& WarmJournal::identity() const noexcept { return state_->identity; }
uint64_t WarmJournal::last_seq() const noexcept { return state_->tail_seq; }

Result<std::unique_ptr<WarmJournal>> WarmJournal::Open(const JournalConfig& config,
                                                       const Replay& replay) {
  return OpenOn(journal::MakePosixDisk(config.directory), config, replay);
}

Result<std::unique_ptr<WarmJournal>> WarmJournal::OpenOn(std::unique_ptr<JournalDisk> disk,
                                                         const JournalConfig& config,
                                                         const Replay& replay) {
  const auto meta = journal::LoadMeta(*disk);
  if (!meta.ok()) return meta.error();
  if (meta.value().volume != config.volume) {
    return Error{EXDEV, "the journal belongs to another volume"};
  }
  const auto mark = journal::MarkFile::Load(*disk, meta.value().journal_id);
  if (!mark.ok()) return mark.error();
  auto replayed = journal::ReplayFiles({.disk = *disk,
                                        .journal_id = meta.value().journal_id,
                                        .file_bytes = meta.value().file_bytes,
                                        .mark = mark.value().values(),
                                        .stable_seq = config.stable_seq,
                                        .live = true});
  if (!replayed.ok()) return replayed.error();
  auto state = std::make_unique<State>();
  state->disk = std::move(disk);
  state->config = config;
  state->meta = meta.value();
  state->identity = {.journal_id = meta.value().journal_id,
                     .volume = meta.value().volume,
                     .base_epoch = meta.value().base_epoch,
                     .base_seq = meta.value().base_seq};
  state->live = std::move(replayed.value().files);
  state->tail_seq = replayed.value().tail_seq;
  for (size_t at = 0; at < state->live.size(); ++at) {
    JournalFile& file = state->live[at];
    if (file.sealed) state->with_footer.push_back(file.number);
    if (at + 1 < state->live.size()) file.sealed = true;
    for (size_t entry = 0; entry < file.entries.size(); ++entry) replay(file.RecordAt(entry));
  }
  return std::unique_ptr<WarmJournal>(new WarmJournal(std::move(state)));
}

Result<void> WarmJournal::CatchUp(uint64_t until_seq, const Replay& replay) {
  for (;;) {
    if (const auto scanned = state_->ScanNewest(replay); !scanned.ok()) return scanned;
    if (state_->tail_seq >= until_seq) return {};
    const auto stepped = state_->StepToNext(replay);
    if (!stepped.ok()) return stepped.error();
    if (!stepped.value()) return {};
  }
}

Result<void> WarmJournal::Prepare() {
  state_->prepared = false;
  if (const auto listed = state_->List(); !listed.ok()) return listed;
  state_->prepared = true;
  return {};
}

bool WarmJournal::Matches(const JournalHandover& handover) const noexcept {
  const auto& live = state_->live;
  return state_->tail_seq == handover.committed_seq &&
         handover.synced_seq <= handover.committed_seq &&
         (live.empty() ? 0 : live.back().number) == handover.newest_number &&
         (live.empty() ? 0 : live.back().end) == handover.newest_end;
}

Result<std::unique_ptr<Journal>> WarmJournal::Adopt(std::unique_ptr<WarmJournal> warm,
                                                    const JournalHandover& handover,
                                                    UniqueFd lock) {
  State& state = *warm->state_;
  WEIR_CHECK(state.prepared && warm->Matches(handover));
  if (!state.live.empty()) state.live.back().sealed = handover.newest_sealed;
  auto mark = journal::MarkFile::Load(*state.disk, state.meta.journal_id);
  if (!mark.ok()) return mark.error();
  if (const auto locked = state.disk->TakeLock(std::move(lock)); !locked.ok()) {
    return locked.error();
  }
  journal::OpenFolder folder{.meta = state.meta,
                             .mark = std::move(mark.value()),
                             .live = std::move(state.live),
                             .spares = std::move(state.ahead),
                             .unindexed = {},
                             .tail_seq = state.tail_seq,
                             .synced_seq = handover.synced_seq,
                             .next_number = handover.next_number,
                             .slots = 0};
  for (const JournalFile& file : folder.live) {
    const auto& sealed = state.with_footer;
    const bool indexed = std::find(sealed.begin(), sealed.end(), file.number) != sealed.end();
    if (file.sealed && !indexed) folder.unindexed.push_back(file.number);
  }
  folder.slots = std::max<size_t>(state.config.capacity_bytes / state.meta.file_bytes,
                                  folder.live.size() + folder.spares.size());
  return Journal::Assemble(std::move(state.disk), journal::BackgroundMode::kThread,
                           state.config.epoch, folder);
}

}  // namespace weir
