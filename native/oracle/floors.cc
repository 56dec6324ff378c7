// Replaying a history into floors.
#include "oracle/floors.h"

#include <algorithm>
#include <deque>
#include <span>

namespace weir::oracle {
namespace {

Version VersionIn(const LogRecord& record) {
  return (record.flags & kZeroesFlag) != 0 ? Version::Zeroed(record.id)
                                           : Version::Written(record.id);
}

void RaiseAcked(Floors& floors, const OpTable& ops, uint64_t id) {
  const LoggedOp& op = *ops.Find(id);
  if (IsWriteLike(op.op)) floors.Raise(ops.VersionOf(id), op);
}

Floors AckedFloors(const History& history, const OpTable& ops) {
  Floors floors(history);
  uint64_t next_id = history.first_id;
  for (const LogRecord& record : history.records) {
    if (record.kind == RecordKind::kSubmit) next_id = record.id + 1;
    if (record.kind == RecordKind::kAck && record.result == 0) RaiseAcked(floors, ops, record.id);
    if (record.kind == RecordKind::kObserve) {
      floors.Pin(record.first_block, VersionIn(record), next_id);
    }
  }
  return floors;
}

// A flush covers what was acknowledged before the flush was submitted; FUA covers its own write.
Floors FlushedFloors(const History& history, const OpTable& ops) {
  Floors floors(history);
  std::deque<uint64_t> uncovered;  // acknowledged operations in the order of their acks
  for (const LogRecord& record : history.records) {
    if (record.kind != RecordKind::kAck || record.result != 0) continue;
    const LoggedOp& op = *ops.Find(record.id);
    if (op.op == Op::kFlush) {
      while (!uncovered.empty() && ops.Find(uncovered.front())->ack_at < op.submit_at) {
        RaiseAcked(floors, ops, uncovered.front());
        uncovered.pop_front();
      }
    } else if (op.fua) {
      RaiseAcked(floors, ops, record.id);
    } else if (IsWriteLike(op.op)) {
      uncovered.push_back(record.id);
    }
  }
  return floors;
}

}  // namespace

Floors::Floors(const History& history)
    : blocks_(history.blocks, BlockFloor{.newer_from = history.first_id}) {
  for (const LogRecord& record : history.records) {
    if (record.kind != RecordKind::kBase) break;
    // What stood before the base is not known, so that whatever is older is stale and never "lost".
    for (uint64_t i = 0; i < record.block_count; ++i) {
      blocks_[record.first_block + i].floor = VersionIn(record);
      blocks_[record.first_block + i].previous = VersionIn(record);
    }
  }
}

void Floors::Raise(Version version, const LoggedOp& where) noexcept {
  const auto blocks = std::span(blocks_).subspan(where.first_block, where.block_count);
  for (BlockFloor& block : blocks) {
    if (version.id() <= block.floor.id()) continue;
    block.previous = block.floor;
    block.floor = version;
    block.newer_from = std::max(block.newer_from, version.id() + 1);
  }
}

void Floors::Pin(uint64_t block, Version version, uint64_t next_id) noexcept {
  BlockFloor& pinned = blocks_[block];
  if (pinned.floor != version) pinned.previous = pinned.floor;
  pinned.floor = version;
  pinned.newer_from = next_id;
}

Floors FloorsOf(const History& history, const OpTable& ops, Promise promise) {
  switch (promise) {
    case Promise::kAcked:
      return AckedFloors(history, ops);
    case Promise::kFlushed:
      return FlushedFloors(history, ops);
    case Promise::kImage:
      break;
  }
  return Floors(history);
}

Floors AckedBefore(const History& history, const OpTable& ops, uint64_t end) {
  Floors floors(history);
  for (const LogRecord& record : history.records.first(end)) {
    if (record.kind == RecordKind::kAck && record.result == 0) RaiseAcked(floors, ops, record.id);
  }
  return floors;
}

}  // namespace weir::oracle
