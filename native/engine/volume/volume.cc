#include "engine/volume/volume.h"

#include <cerrno>

namespace weir {

Volume::Volume(const Parts& parts, const VolumeConfig& config)
    : loop_(*parts.loop),
      cache_(*parts.cache),
      background_(*parts.background),
      foreground_(*parts.foreground),
      host_(*parts.host),
      config_(config) {}

Volume::~Volume() = default;

Result<std::unique_ptr<Volume>> Volume::Open(const Parts& parts, const VolumeConfig& config,
                                             VolumeBase base) {
  auto volume = std::unique_ptr<Volume>(new Volume(parts, config));
  volume->TakeBase(base);

  // A power cut may leave the journal behind the bucket; it must not number new records below that.
  JournalConfig journal_config = config.journal;
  journal_config.stable_seq = base.journal_end;
  auto journal = Journal::Open(journal_config, [&](const JournalRecord& record) {
    volume->Replay(record, base.journal_end);
  });
  if (!journal.ok()) return journal.error();
  volume->journal_ = std::move(journal.value());
  volume->BeginServing();
  return volume;
}

void Volume::TakeBase(const VolumeBase& base) {
  stable_ = std::make_unique<StableMap>(base.chunks);
  for (const SegmentIndex& index : base.segments) stable_->Apply(index.header.id, index);
  committed_ = base.committed;
  committed_blocks_ = base.committed_blocks;
  size_blocks_ = base.committed_blocks;
  batch_blocks_ = base.committed_blocks;
  stable_seq_ = base.journal_end;
  batch_end_seq_ = base.journal_end;
}

void Volume::BeginServing() {
  last_seq_ = journal_->committed_seq();
  flusher_ = std::make_unique<Flusher>(loop_, *journal_, static_cast<FlushListener&>(*this),
                                       config_.flush_to_store);
  flusher_->OnStable(stable_seq_);
  loop_.AddRoundEnd(Loop::RoundOrder::kCommit, this);
  loop_.AddRoundEnd(Loop::RoundOrder::kSettle, &settle_);
}

void Volume::Replay(const JournalRecord& record, uint64_t journal_end) {
  ++counters_.replayed_records;
  if (record.seq > journal_end) {
    ApplyRecord(record);
    return;
  }
  // Committed already: the bytes are still worth reading from here, but nothing is dirty, and
  // zeroes are in the stable map.
  if (record.type == RecordType::kWrite) {
    in_journal_.Assign({.start = record.start_block,
                        .count = record.block_count,
                        .kind = PlaceKind::kJournal,
                        .journal = record.addr,
                        .frame = {}});
  } else if (record.type == RecordType::kZeroes) {
    in_journal_.Erase(record.start_block, record.block_count);
  }
  stable_end_ = batch_end_ = EndOf(record);
}

void Volume::Submit(IoRequest* request) {
  if (failed_) {
    Finish(request, -EIO);
    return;
  }
  if (!unsettled_records_.empty()) Settle();
  last_io_ns_ = loop_.now_ns();
  switch (request->op) {
    case IoOp::kRead:
      ++counters_.reads;
      counters_.read_bytes += request->length_bytes;
      StartRead(request);
      return;
    case IoOp::kFlush:
      ++counters_.flushes;
      flusher_->Wait(request, last_seq_);
      if (config_.flush_to_store && flusher_->waiting()) host_.OnDirty(true);
      return;
    case IoOp::kWrite:
      ++counters_.writes;
      counters_.written_bytes += request->length_bytes;
      break;
    case IoOp::kDiscard:
    case IoOp::kWriteZeroes:
      ++counters_.discards;
      break;
  }
  SubmitWrite(request);
}

uint64_t Volume::size_bytes() const { return size_blocks_ * kBlockBytes; }

void Volume::OnRoundEnd() {
  CommitRound();
  if (!failed_) flusher_->StartIfNeeded();
}

void Volume::OnDurable(IoRequest* request, int result) { Finish(request, result); }

void Volume::OnSyncFailed() { Fail({EIO, "the journal's disk refused a sync"}); }

void Volume::Finish(IoRequest* request, int result) {
  if (result != 0 && result != kGivenBack) ++counters_.io_errors;
  request->owner->OnIoDone(request, result);
}

void Volume::Fail(Error error) {
  if (failed_) return;
  failed_ = true;
  staged_records_.clear();
  for (const StagedWrite& write : std::exchange(staged_writes_, {})) Finish(write.request, -EIO);
  while (!backpressure_.empty()) Finish(backpressure_.Pop(), -EIO);
  fetch_by_key_.clear();
  fetches_.clear();
  chunk_waiters_.clear();
  for (const auto& [request, pending] : std::exchange(pending_reads_, {})) Finish(request, -EIO);
  flusher_->FailAll(-EIO);
  host_.OnFailed(error);
}

CheckpointCapture Volume::CaptureCheckpoint() {
  CheckpointCapture capture;
  const std::vector<uint32_t> changed = stable_->changed_chunks();
  for (const uint32_t chunk : changed) {
    if (!stable_->loaded(chunk)) capture.missing_chunks.push_back(chunk);
  }
  capture.epoch = committed_.epoch;
  capture.seq = committed_.seq;
  capture.journal_end = stable_seq_;
  capture.volume_blocks = committed_blocks_;
  if (!capture.missing_chunks.empty()) return capture;
  capture.images.reserve(changed.size());
  for (const uint32_t chunk : changed) capture.images.push_back(stable_->Capture(chunk));
  return capture;
}

void Volume::CheckpointDone(std::span<const uint32_t> chunks) {
  stable_->CheckpointDone(chunks);
  stable_->Evict(config_.map_bytes_max);
}

VolumeStats Volume::stats() const {
  VolumeStats stats = counters_;
  stats.size_bytes = size_bytes();
  stats.dirty_bytes = dirty_blocks_ * kBlockBytes;
  stats.unbatched_bytes = unbatched_blocks_ * kBlockBytes;
  const uint64_t since = taken_.empty() ? unbatched_since_ns_ : taken_.front()->since_ns;
  stats.dirty_age_ms = since == 0 ? 0 : (loop_.now_ns() - since) / 1'000'000;
  if (journal_ != nullptr) {
    stats.journal_used_bytes = journal_->used_bytes();
    stats.journal_capacity_bytes = journal_->capacity_bytes();
    stats.journal_index_bytes = journal_->index_memory_bytes();
    stats.journal_end = journal_->committed_seq();
  }
  stats.map_bytes = in_journal_.memory_bytes() + stable_->memory_bytes();
  stats.map_extents = in_journal_.extent_count() + stable_->extent_count();
  stats.held = backpressure_.count();
  stats.committed_epoch = committed_.epoch;
  stats.committed_seq = committed_.seq;
  return stats;
}

}  // namespace weir
