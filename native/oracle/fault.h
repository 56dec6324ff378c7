// The faults that the oracle tells apart, and a finding: one fault at one block, in words.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/floors.h"
#include "oracle/stamp.h"

namespace weir::oracle {

enum class Fault : uint8_t {
  kLost,        // the version before the required one: the newest write never happened
  kStale,       // a version older than that, or one that an observation had ruled out
  kTorn,        // sectors of different origin in one block
  kZeroed,      // zeroes that no trim or zero operation explains
  kMisplaced,   // an intact block of this history that belongs elsewhere
  kForeign,     // nothing that this history ever wrote there
  kPrefix,      // an operation survived that was submitted after the ack of one that did not
  kUnreadable,  // the target failed a read
  kIoError      // the target failed an operation that must wait and not fail
};
inline constexpr std::array<std::string_view, 9> kFaultNames = {
    "lost", "stale", "torn", "zeroed", "misplaced", "foreign", "prefix", "unreadable", "ioError"};

struct Finding {
  Fault kind = Fault::kLost;
  uint64_t block = 0;
  std::string expected;
  std::string found;
};

inline constexpr size_t kFindingsKept = 20;

// Counts every finding and keeps the first few.
class Findings {
 public:
  void Add(Finding finding);
  [[nodiscard]] uint64_t Count(Fault fault) const noexcept {
    return counts_[static_cast<size_t>(fault)];
  }
  [[nodiscard]] uint64_t total() const noexcept;
  [[nodiscard]] const std::vector<Finding>& first() const noexcept { return first_; }

 private:
  std::array<uint64_t, kFaultNames.size()> counts_{};
  std::vector<Finding> first_;
};

// How a version relates to the operations that the log knows behind a block's floor.
enum class Later : uint8_t {
  kNo,         // it is none of them
  kAllowed,    // one of them makes exactly this
  kImpossible  // no operation of the log ever made this here
};

// The fault of a block that was seen like this, or nothing when it may be so.
[[nodiscard]] std::optional<Fault> Compare(const Sighting& seen, const BlockFloor& floor,
                                           Later later) noexcept;

[[nodiscard]] std::string Describe(Version version);
[[nodiscard]] std::string Describe(const Sighting& seen);

}  // namespace weir::oracle
