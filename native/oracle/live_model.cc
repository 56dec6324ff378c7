// Conflicts and expectations of a running workload.
#include "oracle/live_model.h"

namespace weir::oracle {

LiveModel::LiveModel(const History& history, const OpTable& ops)
    : floors_(FloorsOf(history, ops, Promise::kAcked)),
      readers_(history.blocks),
      written_(history.blocks) {
  for (uint64_t id = ops.first_id(); id < ops.next_id(); ++id) {
    const LoggedOp& op = *ops.Find(id);
    if (op.ack_at != kNever || !IsWriteLike(op.op)) continue;
    for (uint64_t b = op.first_block; b < op.first_block + op.block_count; ++b) {
      if (id >= floors_[b].newer_from) unsettled_[b].push_back(ops.VersionOf(id));
    }
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
  const Version version = MakesZeroes(op) ? Version::Zeroed(id) : Version::Written(id);
  for (uint64_t b = range.first_block; b < range.first_block + range.block_count; ++b) {
    if (op == Op::kRead) {
      --readers_[b];
      continue;
    }
    written_[b] = false;
    if (!succeeded) {
      unsettled_[b].push_back(version);
    } else if (!unsettled_.empty()) {
      unsettled_.erase(b);
    }
  }
  if (op == Op::kRead || !succeeded) return;
  floors_.Raise(version, {.first_block = range.first_block, .block_count = range.block_count});
}

std::optional<Version> LiveModel::UnsettledMatch(uint64_t block,
                                                 const Sighting& seen) const noexcept {
  const auto found = unsettled_.find(block);
  if (found == unsettled_.end()) return std::nullopt;
  for (const Version version : found->second) {
    const bool zeroes = seen.content == Content::kZeroes && version.zeroes();
    const bool write =
        seen.content == Content::kWrite && version == Version::Written(seen.write_id);
    if (zeroes || write) return version;
  }
  return std::nullopt;
}

void LiveModel::CheckRead(const BlockRange& range, std::span<const Sighting> seen, uint64_t next_id,
                          ReadResult& result) {
  for (uint32_t i = 0; i < range.block_count; ++i) {
    const uint64_t block = range.first_block + i;
    const BlockFloor& floor = floors_[block];
    const auto unsettled = UnsettledMatch(block, seen[i]);
    const bool unknown = seen[i].content == Content::kWrite && seen[i].write_id >= next_id;
    const Later later = unsettled ? Later::kAllowed : unknown ? Later::kImpossible : Later::kNo;
    if (const auto fault = Compare(seen[i], floor, later)) {
      result.findings.push_back({*fault, block, Describe(floor.floor), Describe(seen[i])});
      continue;
    }
    if (!unsettled_.contains(block)) continue;
    const Version version = unsettled.value_or(floor.floor);
    floors_.Pin(block, version, next_id);
    unsettled_.erase(block);
    result.observations.push_back({.kind = RecordKind::kObserve,
                                   .flags = version.zeroes() ? kZeroesFlag : uint8_t{0},
                                   .id = version.id(),
                                   .first_block = block,
                                   .block_count = 1});
  }
}

}  // namespace weir::oracle
