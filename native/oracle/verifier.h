// Verifying a device against its log: read every block, judge, and if asked settle the log to what
// is really there.
#pragma once

#include <string>
#include <vector>

#include "oracle/judge.h"
#include "oracle/target.h"

namespace weir::oracle {

// Reads blocks 0..blocks of the target. A failed read makes its blocks unreadable.
[[nodiscard]] Result<std::vector<Sighting>> ReadDevice(Target& target, const History& history,
                                                       uint32_t depth);

struct VerifyOptions {
  std::string log_path;
  Promise promise = Promise::kAcked;
  uint32_t depth = 32;
  bool settle = false;
};

struct VerifyReport {
  uint64_t blocks = 0;
  uint64_t checked = 0;   // blocks whose content could be read
  uint64_t open_ops = 0;  // operations of unknown outcome in the log
  bool settled = false;
  Findings findings;
};

// Settling flushes the target first, so that the new base is owed after a power cut too, and is
// left undone when there is a finding.
[[nodiscard]] Result<VerifyReport> Verify(Target& target, const VerifyOptions& options);

}  // namespace weir::oracle
