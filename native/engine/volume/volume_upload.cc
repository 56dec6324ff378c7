// Uploads: batches are taken in journal order, built by the background worker, committed in order.
// Only a commit makes data stable (I3).
#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/volume/volume.h"

namespace weir {
namespace {

// Bounds the extents of one plan well below kSegmentExtentsMax: frames cut extents further.
constexpr uint64_t kPlanExtentsMax = 4000;

// Reads the plan's blocks from the journal and lays out the segment. Runs on the background worker:
// the files of a batch hold dirty records, so nobody recycles them meanwhile.
Result<SegmentBuilder::Built> BuildSegment(const Journal& journal, std::span<const Extent> plan,
                                           const SegmentHeader& header, int zstd_level,
                                           uint64_t* raw_bytes) {
  SegmentBuilder builder(zstd_level);
  std::vector<std::byte> blocks(kFrameBytesMax);
  for (const Extent& extent : plan) {
    if (extent.kind == PlaceKind::kZero) {
      builder.AddZeroes(extent.start, static_cast<uint32_t>(extent.count));
      continue;
    }
    for (Extent rest = extent; rest.count > 0;) {
      const auto count = static_cast<uint32_t>(std::min<uint64_t>(rest.count, kFrameBlocksMax));
      const auto read = journal.Read(rest.journal, rest.start, count, blocks.data());
      if (!read.ok()) return read.error();
      builder.AddData(rest.start, count, blocks.data());
      if (rest.count == count) break;
      rest = rest.Tail(count);
    }
  }
  *raw_bytes = builder.raw_bytes();
  return builder.Finish(header);
}

}  // namespace

Volume::BatchPlan Volume::PlanBatch() const {
  BatchPlan plan;
  ExtentMap newest;
  uint64_t live = 0;
  uint64_t size = 0;
  journal_->Visit(batch_end_seq_, [&](const JournalRecord& record) {
    if (live * kBlockBytes >= config_.batch_bytes || newest.extent_count() >= kPlanExtentsMax) {
      return false;
    }
    plan.empty = false;
    plan.journal_end = record.seq;
    plan.end = EndOf(record);
    if (record.type == RecordType::kResize) {
      size = record.start_block;
      return true;
    }
    const bool data = record.type == RecordType::kWrite;
    newest.Assign({.start = record.start_block,
                   .count = record.block_count,
                   .kind = data ? PlaceKind::kJournal : PlaceKind::kZero,
                   .journal = data ? record.addr : JournalAddr{},
                   .frame = {}},
                  [&](const Extent& old) {
                    if (old.kind == PlaceKind::kJournal) live -= old.count;
                  });
    if (data) live += record.block_count;
    return true;
  });
  plan.size_blocks = size;
  newest.Visit(0, kVolumeBlocksMax, [&](const Extent& extent) {
    Extent* last = plan.extents.empty() ? nullptr : &plan.extents.back();
    const bool joins = last != nullptr && last->kind == PlaceKind::kZero &&
                       extent.kind == PlaceKind::kZero && last->end() == extent.start &&
                       last->count + extent.count <= UINT32_MAX;
    if (joins) {
      last->count += extent.count;
    } else {
      plan.extents.push_back(extent);
    }
  });
  return plan;
}

uint64_t Volume::LiveBlocks(uint64_t start, uint64_t count, JournalAddr from,
                            JournalAddr to) const {
  uint64_t live = 0;
  in_journal_.Visit(start, count, [&](const Extent& piece) {
    if (piece.kind == PlaceKind::kJournal && piece.journal >= from && piece.journal < to) {
      live += piece.count;
    }
  });
  return live;
}

void Volume::MarkTaken(const BatchPlan& plan) {
  for (const Extent& extent : plan.extents) {
    unbatched_blocks_ -= LiveBlocks(extent.start, extent.count, batch_end_, plan.end);
  }
  batch_end_ = plan.end;
  batch_end_seq_ = plan.journal_end;
  // What came behind the batch's end has no age of its own; "now" errs by one batch at most.
  unbatched_since_ns_ = batch_end_seq_ < journal_->committed_seq() ? loop_.now_ns() : 0;
  batch_appended_bytes_ = unbatched_since_ns_ == 0
                              ? appended_bytes_
                              : appended_bytes_ - unbatched_blocks_ * kJournalBlockStride;
  urgent_told_ = false;
  // The rest has nobody else to tell of it: no write need come any more.
  if (unbatched_since_ns_ != 0) host_.OnDirty(false);
}

void Volume::TakeBatch(const BatchRequest& request, std::function<void(Result<Batch>)> done) {
  if (failed_) {
    done(Error{EIO, "the volume has failed"});
    return;
  }
  BatchPlan plan = PlanBatch();
  if (plan.empty) {
    done(Batch{});
    return;
  }
  const SegmentId& last = taken_.empty() ? committed_ : taken_.back()->id;
  WEIR_CHECK(request.epoch > last.epoch || (request.epoch == last.epoch && request.seq > last.seq));
  const uint64_t since_ns = unbatched_since_ns_;
  MarkTaken(plan);
  NoteUnbatched();
  auto batch = std::make_shared<TakenBatch>();
  batch->id = {config_.journal.volume, request.epoch, request.seq};
  batch->journal_end = plan.journal_end;
  batch->end = plan.end;
  batch->since_ns = since_ns;
  batch->appended_bytes = batch_appended_bytes_;
  if (plan.size_blocks != 0) batch_blocks_ = plan.size_blocks;
  const SegmentHeader header{.id = batch->id,
                             .nonce = request.nonce,
                             .journal_id = journal_->identity().journal_id,
                             .journal_end = plan.journal_end,
                             .volume_size_bytes = batch_blocks_ * kBlockBytes,
                             .created_at_ms = request.created_at_ms};
  taken_.push_back(batch);
  background_.Post([this, batch, header, plan = std::move(plan), done = std::move(done)] {
    uint64_t raw_bytes = 0;
    auto built = std::make_shared<Result<SegmentBuilder::Built>>(
        BuildSegment(*journal_, plan.extents, header, config_.zstd_level, &raw_bytes));
    loop_.Post([this, batch, built, raw_bytes, done] {
      OnBatchBuilt(batch, std::move(*built), raw_bytes, done);
    });
  });
}

void Volume::OnBatchBuilt(const std::shared_ptr<TakenBatch>& batch,
                          Result<SegmentBuilder::Built> built, uint64_t raw_bytes,
                          const std::function<void(Result<Batch>)>& done) {
  if (!built.ok()) {
    // Dirty data that does not verify must never be laundered into a segment (I8).
    Fail(built.error());
    done(built.error());
    return;
  }
  batch->index = std::move(built.value().index);
  batch->built = true;
  done(Batch{.bytes = std::move(built.value().bytes),
             .raw_bytes = raw_bytes,
             .journal_end = batch->journal_end});
}

void Volume::CommitBatch() {
  WEIR_CHECK(!taken_.empty() && taken_.front()->built);
  const std::shared_ptr<TakenBatch> batch = taken_.front();
  taken_.pop_front();
  stable_->Apply(batch->id, batch->index);
  for (const SegmentExtent& extent : batch->index.extents) {
    dirty_blocks_ -= LiveBlocks(extent.start_block, extent.block_count, stable_end_, batch->end);
  }
  stable_end_ = batch->end;
  stable_seq_ = batch->journal_end;
  stable_appended_bytes_ = batch->appended_bytes;
  committed_ = batch->id;
  committed_blocks_ = batch->index.header.volume_size_bytes / kBlockBytes;
  EraseStableZeroes(batch->index.extents, batch->end);
  flusher_->OnStable(stable_seq_);
  stable_->Evict(config_.map_bytes_max);
  MaybeRecycle();
  ReleaseHeld();
}

// Zeroes that are committed are in the stable map; younger ones over the same blocks stay.
void Volume::EraseStableZeroes(std::span<const SegmentExtent> extents, JournalAddr end) {
  std::vector<Extent> stale;
  for (const SegmentExtent& extent : extents) {
    if (!extent.zero) continue;
    in_journal_.Visit(extent.start_block, extent.block_count, [&](const Extent& piece) {
      if (piece.kind == PlaceKind::kZero && piece.journal < end) stale.push_back(piece);
    });
  }
  for (const Extent& piece : stale) in_journal_.Erase(piece.start, piece.count);
}

}  // namespace weir
