// Conflicts and expectations of a running workload.
#include "oracle/live_model.h"

#include <algorithm>

namespace weir::oracle {

LiveModel::LiveModel(const History& history, const OpTable& ops)
    : floors_(FloorsOf(history, ops, Promise::kAcked)),
      readers_(history.blocks),
      written_(history.blocks) {
  for (uint64_t id = ops.first_id(); id < ops.next_id(); ++id) {
    const LoggedOp& op = *ops.Find(id);
    if (op.ack_at == kNever && IsWriteLike(op.op)) open_.emplace(id, op);
  }
}

bool LiveModel::IsFree(Op op, const BlockRange& range) const noexcept {
  for (uint64_t b = range.first_block; b < range.first_block + range.block_count; ++b) {
    if (written_[b] || (op != Op::kRead && readers_[b] != 0)) return false;
  }
  return true;
}

void LiveModel::Begin(Op op, const BlockRange& range) noexcept {
  for (uint64_t b = range.first_block; b < range.first_block + range.block_count; ++b) {
    if (op == Op::kRead) {
      ++readers_[b];
    } else {
      written_[b] = true;
    }
  }
}

void LiveModel::End(uint64_t id, Op op, const BlockRange& range, bool succeeded) {
  for (uint64_t b = range.first_block; b < range.first_block + range.block_count; ++b) {
    if (op == Op::kRead) {
      --readers_[b];
    } else {
      written_[b] = false;
    }
  }
  if (!IsWriteLike(op)) return;
  const LoggedOp logged{
      .first_block = range.first_block, .block_count = range.block_count, .op = op};
  if (succeeded) {
    floors_.Raise(MakesZeroes(op) ? Version::Zeroed(id) : Version::Written(id), logged);
  } else {
    open_.emplace(id, logged);
  }
}

// Looks among the open operations only: every other one behind the floor would have raised it.
Later LiveModel::LaterFor(uint64_t block, const Sighting& seen, uint64_t next_id,
                          uint64_t& zero_id) const noexcept {
  const uint64_t from = floors_[block].newer_from;
  if (seen.content == Content::kZeroes) {
    for (auto it = open_.lower_bound(from); it != open_.end(); ++it) {
      if (!MakesZeroes(it->second.op) || !it->second.Covers(block)) continue;
      zero_id = it->first;
      return Later::kAllowed;
    }
    return Later::kNo;
  }
  if (seen.write_id >= next_id) return Later::kImpossible;
  const auto found = open_.find(seen.write_id);
  const bool allowed = found != open_.end() && seen.write_id >= from &&
                       found->second.op == Op::kWrite && found->second.Covers(block);
  return allowed ? Later::kAllowed : Later::kNo;
}

void LiveModel::CheckRead(const BlockRange& range, std::span<const Sighting> seen,
                          uint64_t next_id, ReadResult& result) {
  for (uint32_t i = 0; i < range.block_count; ++i) {
    const uint64_t block = range.first_block + i;
    const BlockFloor& floor = floors_[block];
    uint64_t zero_id = floor.floor.id();
    const Later later = floor.floor.zeroes() && seen[i].content == Content::kZeroes
                            ? Later::kNo
                            : LaterFor(block, seen[i], next_id, zero_id);
    if (const auto fault = Compare(seen[i], floor, later)) {
      result.findings.push_back({*fault, block, Describe(floor.floor), Describe(seen[i])});
      continue;
    }
    const auto other = open_.lower_bound(floor.newer_from);
    const bool ambiguous = std::any_of(other, open_.end(), [block](const auto& entry) {
      return entry.second.Covers(block);
    });
    if (!ambiguous) continue;
    const bool zeroes = seen[i].content == Content::kZeroes;
    const Version version =
        zeroes ? Version::Zeroed(zero_id) : Version::Written(seen[i].write_id);
    floors_.Pin(block, version, next_id);
    result.observations.push_back({.kind = RecordKind::kObserve,
                                   .flags = zeroes ? kZeroesFlag : uint8_t{0},
                                   .id = version.id(),
                                   .first_block = block,
                                   .block_count = 1});
  }
}

}  // namespace weir::oracle
