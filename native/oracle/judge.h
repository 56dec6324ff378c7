// The judge: given a history and what every block of the device holds now, did the device keep the
// promise? Pure; reads neither device nor file.
//
// The prefix property (I3) for a whole device: let the youngest surviving operation have been
// submitted at place M of the log. Then every block must hold the newest version acknowledged
// before M, or a newer one. This is the strongest of all pairs, so one pass over the blocks decides
// it.
#pragma once

#include <span>
#include <vector>

#include "oracle/fault.h"

namespace weir::oracle {

struct Evidence {
  const History& history;
  const OpTable& ops;
  std::span<const Sighting> seen;  // one for each block of the history
  Promise promise = Promise::kAcked;
};

struct Verdict {
  Findings findings;
  // What each block is taken to hold. Zeroes count as the oldest operation that explains them, so
  // that no survivor is claimed that might not be one. Meaningless where a finding is.
  std::vector<Version> observed;
};

[[nodiscard]] Verdict Judge(const Evidence& evidence);

}  // namespace weir::oracle
