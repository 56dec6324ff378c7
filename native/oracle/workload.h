// What a run does next: the kind, the size and the place of operations, by chance and by the shares
// that were asked for.
#pragma once

#include <cstdint>

#include "oracle/live_model.h"
#include "oracle/random.h"

namespace weir::oracle {

struct WorkloadOptions {
  uint64_t blocks = 0;
  uint32_t blocks_min = 1;  // of one operation
  uint32_t blocks_max = 32;
  uint32_t flush_every = 64;  // write-like operations; 0 is never
  uint32_t fua_percent = 5;   // of the writes
  uint32_t trim_percent = 5;  // of all operations, as are the next two
  uint32_t zero_percent = 5;
  uint32_t read_percent = 20;
};

struct NextOp {
  Op op = Op::kWrite;
  bool fua = false;
  BlockRange range = {};
};

class Workload {
 public:
  Workload(const WorkloadOptions& options, uint64_t seed) : options_(options), random_(seed) {}

  // An operation that conflicts with nothing outstanding. Nothing when no place was found, which
  // happens while most of a small device is busy.
  [[nodiscard]] std::optional<NextOp> Next(const LiveModel& model);

 private:
  [[nodiscard]] Op ChooseOp();
  [[nodiscard]] BlockRange ChooseRange();

  WorkloadOptions options_;
  Random random_;
  uint32_t writes_since_flush_ = 0;
};

}  // namespace weir::oracle
