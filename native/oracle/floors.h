// Floors: for each block the oldest version that a promise still allows.
// A block may hold its floor, or a version of an operation numbered `newer_from` or higher.
#pragma once

#include <cstdint>
#include <vector>

#include "oracle/op_table.h"

namespace weir::oracle {

struct BlockFloor {
  Version floor = {};
  Version previous = {};    // the floor before this one: what a loss of the newest leaves
  uint64_t newer_from = 0;  // what was observed rules out the operations between floor and this
};

class Floors {
 public:
  // The blocks as the log's base records say, the rest fresh.
  explicit Floors(const History& history);

  [[nodiscard]] uint64_t size() const noexcept { return blocks_.size(); }
  [[nodiscard]] const BlockFloor& operator[](uint64_t block) const noexcept {
    return blocks_[block];
  }
  // The version became required on these blocks. An older one than the present floor changes
  // nothing.
  void Raise(Version version, const LoggedOp& where) noexcept;
  // The block was seen to hold `version`: of the operations before `next_id` no other happened.
  void Pin(uint64_t block, Version version, uint64_t next_id) noexcept;

 private:
  std::vector<BlockFloor> blocks_;
};

enum class Promise {
  kAcked,    // process death: every acknowledged operation is there
  kFlushed,  // power cut: all that a flush or FUA acknowledged is there, and a prefix of the rest
  kImage     // a position of the log: any prefix
};

[[nodiscard]] Floors FloorsOf(const History& history, const OpTable& ops, Promise promise);

// What was acknowledged before record `end`, whatever reads observed: the prefix property demands
// it of a device on which an operation submitted at `end` survived.
[[nodiscard]] Floors AckedBefore(const History& history, const OpTable& ops, uint64_t end);

}  // namespace weir::oracle
