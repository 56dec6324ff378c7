// All operations of a history by their number: where each was submitted and acknowledged.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "oracle/log_file.h"
#include "oracle/version.h"

namespace weir::oracle {

inline constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

struct LoggedOp {
  uint64_t submit_at = 0;    // place of the record in the log
  uint64_t ack_at = kNever;  // kNever when it was not answered, or with an error
  uint64_t first_block = 0;
  uint32_t block_count = 0;
  Op op = Op::kRead;
  bool fua = false;

  [[nodiscard]] bool Covers(uint64_t block) const noexcept {
    return block >= first_block && block - first_block < block_count;
  }
};

class OpTable {
 public:
  explicit OpTable(const History& history);

  [[nodiscard]] uint64_t first_id() const noexcept { return first_id_; }
  // The number that the next operation of this log gets.
  [[nodiscard]] uint64_t next_id() const noexcept { return first_id_ + ops_.size(); }
  // Null for numbers before the base and for numbers that were never given out.
  [[nodiscard]] const LoggedOp* Find(uint64_t id) const noexcept {
    return id < first_id_ || id >= next_id() ? nullptr : &ops_[id - first_id_];
  }
  // The version that write-like operation `id` makes. `id` is in the table.
  [[nodiscard]] Version VersionOf(uint64_t id) const noexcept {
    return MakesZeroes(Find(id)->op) ? Version::Zeroed(id) : Version::Written(id);
  }
  // Operations without a successful answer: each may have happened or not.
  [[nodiscard]] uint64_t CountOpen() const noexcept;

 private:
  uint64_t first_id_;
  std::vector<LoggedOp> ops_;
};

}  // namespace weir::oracle
