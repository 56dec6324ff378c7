// The model during a run: which blocks an operation may touch now, and what a read must return.
// No two outstanding operations conflict on a block, so that a read has one right answer, except
// where an operation that was never answered may or may not have happened. The first read of such a
// block settles it, and is logged.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "oracle/fault.h"

namespace weir::oracle {

class LiveModel {
 public:
  LiveModel(const History& history, const OpTable& ops);

  // Readers may share a block; a write-like operation has it alone.
  [[nodiscard]] bool IsFree(Op op, const BlockRange& range) const noexcept;
  void Begin(Op op, const BlockRange& range) noexcept;

  // The operation was answered; a failed one may have happened or not from now on.
  void End(uint64_t id, Op op, const BlockRange& range, bool succeeded);

  struct ReadResult {
    std::vector<Finding> findings;
    std::vector<LogRecord> observations;
  };
  // Judges what a read returned. `next_id` is the number of the next operation.
  void CheckRead(const BlockRange& range, std::span<const Sighting> seen, uint64_t next_id,
                 ReadResult& result);

 private:
  // The version that explains what was seen, if an operation of unknown outcome does.
  [[nodiscard]] std::optional<Version> UnsettledMatch(uint64_t block,
                                                      const Sighting& seen) const noexcept;

  Floors floors_;
  // Versions newer than the floor whose operations were never answered, or with an error.
  std::unordered_map<uint64_t, std::vector<Version>> unsettled_;
  std::vector<uint8_t> readers_;
  std::vector<bool> written_;  // a write-like operation is outstanding here
};

}  // namespace weir::oracle
