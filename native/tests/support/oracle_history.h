// A history for the oracle, made by hand: submits, acks and flushes in the order of the calls.
#pragma once

#include <vector>

#include "oracle/judge.h"

namespace weir::oracle {

class HistoryBuilder {
 public:
  explicit HistoryBuilder(uint64_t blocks, uint64_t first_id = 1)
      : blocks_(blocks), first_id_(first_id), next_id_(first_id) {}

  uint64_t Submit(Op op, BlockRange range, bool fua = false) {
    records_.push_back({.kind = RecordKind::kSubmit,
                        .op = op,
                        .flags = fua ? kFuaFlag : uint8_t{0},
                        .id = next_id_,
                        .first_block = range.first_block,
                        .block_count = range.block_count});
    return next_id_++;
  }
  void Ack(uint64_t id, int32_t result = 0) {
    records_.push_back({.kind = RecordKind::kAck, .id = id, .result = result});
  }
  // Submitted and acknowledged with nothing between.
  uint64_t Do(Op op, BlockRange range, bool fua = false) {
    const uint64_t id = Submit(op, range, fua);
    Ack(id);
    return id;
  }
  uint64_t Write(uint64_t block) { return Do(Op::kWrite, {block, 1}); }
  void Flush() { Do(Op::kFlush, {}); }
  void Base(uint64_t block, Version version) { Add(RecordKind::kBase, block, version); }
  void Observe(uint64_t block, Version version) { Add(RecordKind::kObserve, block, version); }

  [[nodiscard]] History history() const {
    return {.lineage = 7, .blocks = blocks_, .first_id = first_id_, .records = records_};
  }
  [[nodiscard]] uint64_t next_id() const { return next_id_; }

 private:
  void Add(RecordKind kind, uint64_t block, Version version) {
    records_.push_back({.kind = kind,
                        .flags = version.zeroes() ? kZeroesFlag : uint8_t{0},
                        .id = version.id(),
                        .first_block = block,
                        .block_count = 1});
  }

  uint64_t blocks_;
  uint64_t first_id_;
  uint64_t next_id_;
  std::vector<LogRecord> records_;
};

inline Sighting SeenWrite(uint64_t id) { return {.content = Content::kWrite, .write_id = id}; }
inline Sighting SeenZeroes() { return {.content = Content::kZeroes}; }

inline Verdict JudgeHistory(const HistoryBuilder& builder, const std::vector<Sighting>& seen,
                            Promise promise) {
  const History history = builder.history();
  const OpTable ops(history);
  return Judge({.history = history, .ops = ops, .seen = seen, .promise = promise});
}

}  // namespace weir::oracle
