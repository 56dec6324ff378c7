// What the program prints: one JSON line for each command.
#pragma once

#include <string>

#include "oracle/plant.h"
#include "oracle/runner.h"
#include "oracle/verifier.h"

namespace weir::oracle {

[[nodiscard]] std::string ToJson(const RunReport& report);
[[nodiscard]] std::string ToJson(const VerifyReport& report);
[[nodiscard]] std::string ToJson(const PlantOptions& options, const Planted& planted);

}  // namespace weir::oracle
