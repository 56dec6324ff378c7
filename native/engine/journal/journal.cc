#include "engine/journal/journal.h"

#include <algorithm>
#include <cerrno>

#include "engine/base/check.h"
#include "engine/journal/journal_state.h"

namespace weir {
namespace {

using journal::Background;
using journal::JournalFile;
using journal::RecordHeader;

RecordHeader HeaderOf(RecordType type, uint64_t start_block, uint32_t block_count) {
  RecordHeader header;
  header.type = static_cast<uint8_t>(type);
  header.start_block = start_block;
  header.block_count = block_count;
  return header;
}

}  // namespace

void Journal::State::Absorb() {
  done.clear();
  background.Take(done);
  for (const Background::Done& one : done) {
    if (one.kind == Background::Done::Kind::kSealed) {
      // Sealing synced it and, before it, every older file.
      ledger.NoteSynced(one.file->last_seq());
    } else {
      files.AddSpare(one.file);
      --spares_coming;
    }
  }
  ledger.Rebuild();
}

void Journal::State::Rotate() {
  rotated = true;
  awaiting_seal.insert(awaiting_seal.end(), appender.full().begin(), appender.full().end());
  appender.full().clear();
  SealDue();
}

// A seal syncs. For records that nobody asked to be durable it would only compete with their
// writer, and by the time a flush comes they may have been uploaded. Bounded, because that flush
// then waits for all of it, and a replay reads what has no footer.
void Journal::State::SealDue() {
  while (!awaiting_seal.empty() && (awaiting_seal.size() > unsealed_max ||
                                    awaiting_seal.front()->last_seq() <= ledger.synced_seq())) {
    background.Seal(awaiting_seal.front());
    awaiting_seal.pop_front();
  }
}

// None before the first record (an idle volume costs one reserved file), one until the first file
// was filled, two from then on.
void Journal::State::WantSpares() {
  if (files.live().empty() && files.spare_count() > 0) return;
  while (LacksSpares() && files.unmade_count() > 0) {
    ++spares_coming;
    background.Create(files.TakeUnmade());
  }
}

Journal::Journal(std::unique_ptr<State> state) : state_(std::move(state)) {}

Journal::~Journal() {
  state_->background.Stop(state_->failed ? 0 : state_->appender.committed_seq());
}

const JournalIdentity& Journal::identity() const noexcept { return state_->identity; }

bool Journal::CanStage(uint32_t data_blocks) const noexcept {
  if (state_->appender.CanStage(data_blocks)) return true;
  if (state_->background.has_done()) {
    state_->Absorb();
    if (state_->appender.CanStage(data_blocks)) return true;
  }
  // After an open the newest file may have room for a small record only, and without a commit
  // nobody else asks for the next file.
  state_->WantSpares();
  if (state_->spares_coming > 0) state_->background.Hurry();
  return false;
}

JournalRecord Journal::StageWrite(uint64_t start_block, uint32_t count, const std::byte* data) {
  WEIR_CHECK(count >= 1 && count <= kJournalRecordBlocksMax && data != nullptr);
  return state_->appender.Stage(HeaderOf(RecordType::kWrite, start_block, count), data,
                                state_->ledger.synced_seq());
}

JournalRecord Journal::StageZeroes(uint64_t start_block, uint32_t count) {
  return state_->appender.Stage(HeaderOf(RecordType::kZeroes, start_block, count), nullptr,
                                state_->ledger.synced_seq());
}

JournalRecord Journal::StageResize(uint64_t block_count) {
  return state_->appender.Stage(HeaderOf(RecordType::kResize, block_count, 0), nullptr,
                                state_->ledger.synced_seq());
}

Result<void> Journal::Commit() {
  if (failed()) return Error{EIO, "the journal has failed; its disk lost data"};
  State& state = *state_;
  if (const auto written = state.appender.Commit(); !written.ok()) {
    state.failed = true;
    return Error{EIO, written.error().what};
  }
  if (!state.appender.full().empty()) state.Rotate();
  if (state.background.has_done()) state.Absorb();
  state.ledger.NoteCommitted();
  if (state.LacksSpares()) state.WantSpares();
  return {};
}

bool Journal::failed() const noexcept { return state_->HasFailed(); }

std::span<const int> Journal::sync_fds() const noexcept { return state_->ledger.fds(); }

uint64_t Journal::committed_seq() const noexcept { return state_->appender.committed_seq(); }

uint64_t Journal::synced_seq() const noexcept { return state_->ledger.synced_seq(); }

void Journal::MarkSynced(uint64_t seq) noexcept {
  WEIR_CHECK(seq <= committed_seq());
  if (failed() || seq <= state_->ledger.synced_seq()) return;
  state_->ledger.NoteSynced(seq);
  state_->appender.NoteSynced();
  state_->background.NoteSynced(seq);
  state_->SealDue();
}

void Journal::MarkFailed() noexcept { state_->failed = true; }

void Journal::Visit(uint64_t after_seq,
                    const std::function<bool(const JournalRecord&)>& visit) const {
  const uint64_t last = committed_seq();
  for (const JournalFile* file : state_->files.live()) {
    if (file->next_seq() <= after_seq + 1) continue;
    const uint64_t first = std::max(file->first_seq, after_seq + 1);
    for (uint64_t seq = first; seq < file->next_seq() && seq <= last; ++seq) {
      if (!visit(file->RecordAt(seq - file->first_seq))) return;
    }
  }
}

Journal::FileInfo Journal::oldest_file() const noexcept {
  if (state_->files.live().empty()) return {};
  const JournalFile& file = *state_->files.live().front();
  return {.number = file.number,
          .first_seq = file.first_seq,
          .last_seq = file.last_seq(),
          .sealed = file.sealed};
}

Result<void> Journal::RecycleOldest() {
  State& state = *state_;
  const FileInfo oldest = oldest_file();
  WEIR_CHECK(oldest.sealed && oldest.last_seq <= committed_seq());
  if (failed()) return Error{EIO, "the journal has failed; its disk lost data"};
  ++state.spares_coming;
  journal::JournalFile* const file = state.files.RetireOldest();
  if (!state.awaiting_seal.empty() && state.awaiting_seal.front() == file)
    state.awaiting_seal.pop_front();
  state.background.Recycle(file, oldest.last_seq);
  state.ledger.Rebuild();
  return {};
}

uint64_t Journal::used_bytes() const noexcept {
  return static_cast<uint64_t>(state_->files.live().size()) * state_->files.file_bytes();
}

uint64_t Journal::capacity_bytes() const noexcept {
  return static_cast<uint64_t>(state_->files.slot_count()) * state_->files.file_bytes();
}

uint64_t Journal::index_memory_bytes() const noexcept {
  return state_->files.index_bytes() + state_->appender.memory_bytes();
}

int Journal::ready_fd() const noexcept { return state_->background.ready_fd(); }

void Journal::OnReady() { state_->Absorb(); }

int Journal::last_prepare_error() const noexcept { return state_->background.last_prepare_error(); }

void Journal::PauseBackground() { state_->background.Pause(); }
void Journal::ResumeBackground() { state_->background.Resume(); }
bool Journal::background_at_rest() const noexcept { return state_->background.at_rest(); }
int Journal::lock_fd() const noexcept { return state_->disk->lock_fd(); }

bool Journal::recycling() {
  if (state_->background.has_done()) state_->Absorb();
  return !state_->files.retiring().empty();
}

JournalHandover Journal::handover() const noexcept {
  const auto& live = state_->files.live();
  return {.committed_seq = committed_seq(),
          .synced_seq = synced_seq(),
          .next_number = state_->background.next_number(),
          .newest_number = live.empty() ? 0 : live.back()->number,
          .newest_end = live.empty() ? 0 : live.back()->end,
          .newest_sealed = !live.empty() && live.back()->sealed};
}

void Journal::LetGo() noexcept {
  WEIR_CHECK(background_at_rest());
  state_->failed = true;
}

}  // namespace weir
