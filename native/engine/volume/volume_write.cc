// Writes, discards and growth: staged in the round, one journal commit at its end, then
// acknowledged, then entered into the map.
//
// What an I/O passes through is compiled as one piece (flatten): 37 calls for a 4 KiB write instead
// of 60, as counted; what that is worth in time was not measured apart from the rest.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/volume/volume.h"

namespace weir {
namespace {

// Answers a Grow() once its record is durable.
class GrowWaiter final : public IoOwner {
 public:
  explicit GrowWaiter(std::function<void(Result<void>)> done) : done_(std::move(done)) {
    request_.op = IoOp::kWriteZeroes;
    request_.fua = true;
    request_.owner = this;
  }
  void OnIoDone(IoRequest* /*request*/, int result) override {
    auto done = std::move(done_);
    delete this;
    if (result == 0) {
      done({});
    } else {
      done(Error{-result, "the journal could not record the new size"});
    }
  }
  [[nodiscard]] IoRequest* request() noexcept { return &request_; }

 private:
  IoRequest request_;
  std::function<void(Result<void>)> done_;
};

}  // namespace

double Volume::Pressure() const {
  const double dirty = static_cast<double>(dirty_blocks_) * kBlockBytes /
                       static_cast<double>(config_.dirty_bytes_max);
  // Overwritten dirty data fills the journal without counting as dirty; a fifth is left for
  // recycling.
  const double journal = static_cast<double>(appended_bytes_ - stable_appended_bytes_) /
                         (0.8 * static_cast<double>(journal_->capacity_bytes()));
  return std::max(dirty, journal);
}

void Volume::SubmitWrite(IoRequest* request) {
  request->scratch[0] = 0;  // blocks staged so far
  if (backpressure_.empty() && Pressure() < kSlowFrom && Stage(request)) return;
  backpressure_.Push(request);
  ScheduleRelease();
}

// Stages what fits; false when the journal has no room for the rest yet.
[[gnu::flatten]] bool Volume::Stage(IoRequest* request) {
  const uint64_t start = request->offset_bytes / kBlockBytes;
  const uint64_t total = request->length_bytes / kBlockBytes;
  if (request->op != IoOp::kWrite) {
    if (!journal_->CanStage(0)) return false;
    staged_records_.push_back(journal_->StageZeroes(start, static_cast<uint32_t>(total)));
  } else {
    while (request->scratch[0] < total) {
      const uint64_t from = request->scratch[0];
      const auto count =
          static_cast<uint32_t>(std::min<uint64_t>(total - from, kJournalRecordBlocksMax));
      if (!journal_->CanStage(count)) return false;
      staged_records_.push_back(
          journal_->StageWrite(start + from, count, request->data + from * kBlockBytes));
      appended_bytes_ += static_cast<uint64_t>(count) * kJournalBlockStride;
      request->scratch[0] += count;
      last_seq_ = staged_records_.back().seq;
    }
  }
  last_seq_ = staged_records_.empty() ? last_seq_ : staged_records_.back().seq;
  appended_bytes_ += 64;
  staged_writes_.push_back({request, last_seq_});
  return true;
}

[[gnu::flatten]] void Volume::CommitRound() {
  if (staged_records_.empty()) return;
  const Result<void> committed = journal_->Commit();
  if (!committed.ok()) {
    Fail(committed.error());
    return;
  }
  WEIR_CHECK(unsettled_records_.empty());
  unsettled_records_.swap(staged_records_);
  // Finish() may submit again, so the list is taken out first; its memory comes back after.
  auto writes = std::exchange(staged_writes_, {});
  for (const StagedWrite& write : writes) {
    if (write.request->fua) {
      flusher_->Wait(write.request, write.last_seq);
    } else {
      Finish(write.request, 0);
    }
  }
  if (staged_writes_.empty()) {
    writes.clear();
    staged_writes_ = std::move(writes);
  }
  if (config_.flush_to_store && flusher_->waiting()) host_.OnDirty(true);
}

void Volume::SettleRound() {
  if (unsettled_records_.empty()) return;
  loop_.SubmitAnswers();
  Settle();
}

// The map learns of what was committed when the acknowledgements are on their way, and before
// anybody looks at it: at the round's end, or when a request is submitted before that (I2).
[[gnu::flatten]] void Volume::Settle() {
  for (const JournalRecord& record : unsettled_records_) ApplyRecord(record);
  unsettled_records_.clear();
  NoteUnbatched();
  MaybeRecycle();
}

void Volume::Forget(const Extent& replaced) {
  if (replaced.kind != PlaceKind::kJournal) return;
  if (replaced.journal >= stable_end_) dirty_blocks_ -= replaced.count;
  if (replaced.journal >= batch_end_) unbatched_blocks_ -= replaced.count;
}

void Volume::ApplyRecord(const JournalRecord& record) {
  if (unbatched_since_ns_ == 0) {
    unbatched_since_ns_ = std::max<uint64_t>(loop_.now_ns(), 1);
    if (journal_ != nullptr) host_.OnDirty(false);
  }
  if (record.type == RecordType::kResize) {
    size_blocks_ = record.start_block;
    return;
  }
  const bool data = record.type == RecordType::kWrite;
  in_journal_.Assign({.start = record.start_block,
                      .count = record.block_count,
                      .kind = data ? PlaceKind::kJournal : PlaceKind::kZero,
                      .journal = record.addr,
                      .frame = {}},
                     [this](const Extent& replaced) { Forget(replaced); });
  if (!data) return;
  dirty_blocks_ += record.block_count;
  unbatched_blocks_ += record.block_count;
}

// Says once per batch that it is full, or that the journal needs room.
void Volume::NoteUnbatched() {
  if (urgent_told_) return;
  const bool full = unbatched_blocks_ * kBlockBytes >= config_.batch_bytes;
  const bool crowded = appended_bytes_ - batch_appended_bytes_ >= journal_->capacity_bytes() / 4;
  if (!full && !crowded) return;
  urgent_told_ = true;
  host_.OnDirty(true);
}

void Volume::ScheduleRelease() {
  if (release_scheduled_) return;
  release_scheduled_ = true;
  loop_.After(Backpressure::kTickNs, [this] {
    release_scheduled_ = false;
    ReleaseHeld();
  });
}

void Volume::ReleaseHeld() {
  if (failed_) return;
  MaybeRecycle();
  uint64_t allowance = Backpressure::AllowancePerTick(Pressure());
  while (!backpressure_.empty() && allowance > 0) {
    IoRequest* request = backpressure_.front();
    if (!Stage(request)) break;
    (void)backpressure_.Pop();
    allowance -= std::min<uint64_t>(allowance, std::max(request->length_bytes, kBlockBytes));
  }
  if (!backpressure_.empty()) ScheduleRelease();
}

void Volume::Grow(uint64_t blocks, std::function<void(Result<void>)> done) {
  if (failed_ || !journal_->CanStage(0)) {
    done(Error{failed_ ? EIO : EAGAIN, "the journal cannot take a record now"});
    return;
  }
  auto* waiter = new GrowWaiter(std::move(done));
  staged_records_.push_back(journal_->StageResize(blocks));
  last_seq_ = staged_records_.back().seq;
  staged_writes_.push_back({waiter->request(), last_seq_});
}

}  // namespace weir
