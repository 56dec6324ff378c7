// Choosing operations.
#include "oracle/workload.h"

#include <algorithm>

namespace weir::oracle {
namespace {

constexpr int kPlacesTried = 16;
// A share of the operations stays in a small region, so that blocks are overwritten within one
// batch.
constexpr uint32_t kHotPercent = 25;
constexpr uint64_t kHotShare = 16;

}  // namespace

Op Workload::ChooseOp() {
  if (options_.flush_every != 0 && writes_since_flush_ >= options_.flush_every) return Op::kFlush;
  const uint64_t roll = random_.Below(100);
  uint64_t bound = options_.read_percent;
  if (roll < bound) return Op::kRead;
  if (roll < (bound += options_.trim_percent)) return Op::kTrim;
  if (roll < (bound += options_.zero_percent)) return Op::kZero;
  return Op::kWrite;
}

BlockRange Workload::ChooseRange() {
  const uint64_t sizes = options_.blocks_max - options_.blocks_min + 1;
  const uint64_t size = std::min(options_.blocks_min + random_.Below(sizes), options_.blocks);
  const uint64_t hot = std::max(size, options_.blocks / kHotShare);
  const uint64_t reach = random_.Percent(kHotPercent) ? hot : options_.blocks;
  return {random_.Below(reach - size + 1), static_cast<uint32_t>(size)};
}

std::optional<NextOp> Workload::Next(const LiveModel& model) {
  NextOp next{.op = ChooseOp()};
  if (next.op == Op::kFlush) {
    writes_since_flush_ = 0;
    return next;
  }
  next.fua = next.op == Op::kWrite && random_.Percent(options_.fua_percent);
  for (int tried = 0; tried < kPlacesTried; ++tried) {
    next.range = ChooseRange();
    if (!model.IsFree(next.op, next.range)) continue;
    if (next.op != Op::kRead) ++writes_since_flush_;
    return next;
  }
  return std::nullopt;
}

}  // namespace weir::oracle
