// Recycling: the oldest journal file's blocks move to the clean cache, the map lets go of the file,
// the journal reuses it. Data stays readable on the node all the way.
#include <algorithm>
#include <utility>

#include "engine/volume/volume.h"

namespace weir {
namespace {

constexpr uint64_t kQuietNs = 50'000'000;

}  // namespace

// From three quarters on in quiet moments, as moving blocks competes with whoever reads or writes
// just now; when only an eighth is free, at once. Before a quiet moment a timer looks again.
bool Volume::RecycleDue() {
  const uint64_t capacity = journal_->capacity_bytes();
  const uint64_t used = journal_->used_bytes();
  if (used < capacity / 4 * 3) return false;
  const uint64_t least_free = std::max<uint64_t>(capacity / 8, config_.journal.file_bytes);
  if (capacity - used <= least_free) return true;
  if (loop_.now_ns() - last_io_ns_ >= kQuietNs) return true;
  if (!awaiting_quiet_) {
    awaiting_quiet_ = true;
    loop_.After(kQuietNs, [this] {
      awaiting_quiet_ = false;
      MaybeRecycle();
    });
  }
  return false;
}

void Volume::MaybeRecycle() {
  if (recycling_ || calm_ || failed_ || !RecycleDue()) return;
  const Journal::FileInfo file = journal_->oldest_file();
  if (!file.sealed || file.last_seq > stable_seq_) return;
  recycling_ = true;
  background_.Post([this, file, moves = PlanMoves(file)] {
    std::vector<std::byte> blocks(kFrameBytesMax);
    for (const Move& move : moves) {
      // A block that does not verify is left behind: the bucket has a good copy.
      if (!journal_->Read(move.from, move.start, move.count, blocks.data()).ok()) continue;
      cache_.Insert(move.key, move.frame_blocks, move.first, move.count, blocks.data());
    }
    loop_.Post([this, file] { FinishRecycle(file); });
  });
}

std::vector<Volume::Move> Volume::PlanMoves(const Journal::FileInfo& file) {
  std::vector<Move> moves;
  const auto add = [&](const Extent& piece) {
    if (piece.kind != PlaceKind::kJournal || piece.journal.file() != file.number) return;
    for (Extent rest = piece;;) {
      Extent found;
      uint32_t chunk = 0;
      const auto lookup = stable_->Find(rest.start, rest.end(), &found, &chunk);
      // kUnknown: its chunk was evicted since the commit; the bucket has the block.
      if (lookup == StableMap::Lookup::kFrame) {
        moves.push_back({.from = rest.journal,
                         .start = rest.start,
                         .count = static_cast<uint32_t>(found.count),
                         .key = {stable_->segments().at(found.frame.segment), found.frame.offset},
                         .frame_blocks = found.frame.frame_blocks,
                         .first = found.frame.block});
      }
      if (found.count >= rest.count) break;
      rest = rest.Tail(found.count);
    }
  };
  journal_->Visit(file.first_seq - 1, [&](const JournalRecord& record) {
    if (record.seq > file.last_seq) return false;
    if (record.type == RecordType::kWrite) {
      in_journal_.Visit(record.start_block, record.block_count, add);
    }
    return true;
  });
  return moves;
}

void Volume::FinishRecycle(const Journal::FileInfo& file) {
  recycling_ = false;
  if (failed_) return;
  std::vector<Extent> gone;
  journal_->Visit(file.first_seq - 1, [&](const JournalRecord& record) {
    if (record.seq > file.last_seq) return false;
    if (record.type == RecordType::kWrite) {
      in_journal_.Visit(record.start_block, record.block_count, [&](const Extent& piece) {
        if (piece.kind == PlaceKind::kJournal && piece.journal.file() == file.number) {
          gone.push_back(piece);
        }
      });
    }
    return true;
  });
  for (const Extent& piece : gone) in_journal_.Erase(piece.start, piece.count);
  const Result<void> recycled = journal_->RecycleOldest();
  if (!recycled.ok()) {
    Fail(recycled.error());
    return;
  }
  ReleaseHeld();
}

}  // namespace weir
