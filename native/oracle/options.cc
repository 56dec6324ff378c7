// Parsing the command line.
#include "oracle/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace weir::oracle {
namespace {

constexpr uint32_t kDepthMax = 128;
constexpr uint32_t kSizeMax = 256;

// Fields that more than one command reads.
struct Common {
  std::string log;
  uint64_t seed = 1;
  uint32_t depth = 32;
  Promise promise = Promise::kAcked;
};

template <typename T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

template <typename T>
bool ParseOptional(std::string_view text, std::optional<T>& value) {
  return ParseNumber(text, value.emplace());
}

bool ParseSizes(std::string_view text, WorkloadOptions& workload) {
  const size_t dash = text.find('-');
  if (!ParseNumber(text.substr(0, dash), workload.blocks_min)) return false;
  workload.blocks_max = workload.blocks_min;
  if (dash != text.npos && !ParseNumber(text.substr(dash + 1), workload.blocks_max)) return false;
  return workload.blocks_min >= 1 && workload.blocks_min <= workload.blocks_max &&
         workload.blocks_max <= kSizeMax;
}

bool ParsePromise(std::string_view text, Promise& promise) {
  if (text == "acked") promise = Promise::kAcked;
  if (text == "flushed") promise = Promise::kFlushed;
  if (text == "image") promise = Promise::kImage;
  return text == "acked" || text == "flushed" || text == "image";
}

// What survives elsewhere than on this node: what a flush covered, or just a position of the log.
bool ParseScope(std::string_view text, Promise& promise) {
  return ParsePromise(text == "s3" ? "image" : text, promise) && text != "acked";
}

bool ParseFault(std::string_view text, Fault& fault) {
  const auto found = std::ranges::find(kFaultNames, text);
  fault = static_cast<Fault>(found - kFaultNames.begin());
  return found != kFaultNames.end() && fault <= Fault::kPrefix;
}

class Parser {
 public:
  ParseResult Parse(std::span<char* const> arguments) {
    if (arguments.empty() || !TakeCommand(arguments[0])) {
      return {std::nullopt, "the first argument is run, verify or plant"};
    }
    for (size_t i = 1; i < arguments.size(); ++i) {
      const std::string_view name = arguments[i];
      if (TakeFlag(name)) continue;
      if (i + 1 >= arguments.size() || !TakeValue(name, arguments[++i])) {
        return {std::nullopt, "cannot understand the option " + std::string(name)};
      }
    }
    return Finish();
  }

 private:
  bool TakeCommand(std::string_view name) {
    constexpr std::array<std::string_view, 3> kNames = {"run", "verify", "plant"};
    const auto found = std::ranges::find(kNames, name);
    if (found == kNames.end()) return false;
    options_.command = static_cast<Command>(found - kNames.begin());
    return true;
  }

  bool TakeFlag(std::string_view name) {
    if (name == "--settle") return options_.verify.settle = true;
    if (name == "--flush-at-end") return options_.run.flush_at_end = true;
    // Says what the caller knows; operations of unknown outcome are accepted either way.
    return name == "--after-crash";
  }

  bool TakeValue(std::string_view name, std::string_view value) {
    if (name == "--target") return TakeText(value, options_.target.address);
    if (name == "--log") return TakeText(value, common_.log);
    if (name == "--seed") return ParseNumber(value, common_.seed);
    if (name == "--depth") return ParseNumber(value, common_.depth);
    if (name == "--expect") return ParsePromise(value, common_.promise);
    if (name == "--scope") return ParseScope(value, common_.promise);
    if (name == "--connect-seconds") return ParseNumber(value, options_.target.connect_seconds);
    if (name == "--kind") return has_kind_ = ParseFault(value, options_.plant.kind);
    return TakeRunValue(name, value) || TakeWorkloadValue(name, value);
  }

  bool TakeRunValue(std::string_view name, std::string_view value) {
    RunOptions& run = options_.run;
    if (name == "--seconds") return ParseOptional(value, run.seconds);
    if (name == "--ops") return ParseOptional(value, run.op_count);
    if (name == "--rate") return ParseNumber(value, run.rate);
    if (name == "--stall-seconds") return ParseNumber(value, run.stall_seconds);
    return false;
  }

  bool TakeWorkloadValue(std::string_view name, std::string_view value) {
    WorkloadOptions& workload = options_.run.workload;
    if (name == "--blocks") return ParseNumber(value, workload.blocks);
    if (name == "--sizes") return ParseSizes(value, workload);
    if (name == "--flush-every") return ParseNumber(value, workload.flush_every);
    if (name == "--fua-percent") return ParseNumber(value, workload.fua_percent);
    if (name == "--trim-percent") return ParseNumber(value, workload.trim_percent);
    if (name == "--zero-percent") return ParseNumber(value, workload.zero_percent);
    if (name == "--read-percent") return ParseNumber(value, workload.read_percent);
    return false;
  }

  static bool TakeText(std::string_view value, std::string& text) {
    text = value;
    return true;
  }

  ParseResult Finish() {
    const WorkloadOptions& workload = options_.run.workload;
    const bool is_run = options_.command == Command::kRun;
    std::string problem;
    if (options_.target.address.empty()) problem = "--target is missing";
    if (common_.log.empty()) problem = "--log is missing";
    if (common_.depth < 1 || common_.depth > kDepthMax) problem = "--depth is 1 to 128";
    if (is_run && workload.blocks == 0) problem = "--blocks is missing";
    if (is_run && workload.trim_percent + workload.zero_percent + workload.read_percent > 100) {
      problem = "trims, zeroes and reads together exceed 100 percent";
    }
    if (options_.command == Command::kPlant && !has_kind_) problem = "--kind is missing";
    if (!problem.empty()) return {std::nullopt, problem};

    options_.target.depth = common_.depth;
    options_.run.log_path = options_.verify.log_path = options_.plant.log_path = common_.log;
    options_.run.seed = options_.plant.seed = common_.seed;
    options_.run.depth = options_.verify.depth = options_.plant.depth = common_.depth;
    options_.verify.promise = options_.plant.promise = common_.promise;
    return {options_, ""};
  }

  Options options_;
  Common common_;
  bool has_kind_ = false;
};

}  // namespace

ParseResult ParseOptions(std::span<char* const> arguments) { return Parser().Parse(arguments); }

}  // namespace weir::oracle
