// The command line.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "oracle/plant.h"
#include "oracle/runner.h"
#include "oracle/verifier.h"

namespace weir::oracle {

enum class Command { kRun, kVerify, kPlant };

struct Options {
  Command command = Command::kRun;
  TargetOptions target;
  RunOptions run;
  VerifyOptions verify;
  PlantOptions plant;
};

struct ParseResult {
  std::optional<Options> options;
  std::string problem;  // one sentence, when there are no options
};

[[nodiscard]] ParseResult ParseOptions(std::span<char* const> arguments);

}  // namespace weir::oracle
