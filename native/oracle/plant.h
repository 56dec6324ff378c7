// Planting a fault: one block is changed behind the log's back, so that verify must find exactly
// that fault. Tests use it to show that the oracle has teeth.
#pragma once

#include <string>
#include <string_view>

#include "oracle/fault.h"
#include "oracle/target.h"

namespace weir::oracle {

struct PlantOptions {
  std::string log_path;
  Fault kind = Fault::kLost;
  Promise promise = Promise::kAcked;  // what verify will be asked for
  uint64_t seed = 1;
  uint32_t depth = 32;
};

struct Planted {
  uint64_t block = 0;
  std::string content;
};

// Reads the device to find a block that qualifies; the device must be sound before. An Error with
// ENODATA says that none does.
[[nodiscard]] Result<Planted> Plant(Target& target, const PlantOptions& options);

}  // namespace weir::oracle
