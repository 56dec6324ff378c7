// Naming the fault of one block.
#include "oracle/fault.h"

#include <numeric>
#include <utility>

namespace weir::oracle {

void Findings::Add(Finding finding) {
  ++counts_[static_cast<size_t>(finding.kind)];
  if (first_.size() < kFindingsKept) first_.push_back(std::move(finding));
}

uint64_t Findings::total() const noexcept {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

namespace {

std::optional<Fault> CompareZeroes(const BlockFloor& floor, Later later) noexcept {
  if (floor.floor.zeroes() || later == Later::kAllowed) return std::nullopt;
  const bool before_was_a_zero_op = floor.previous.zeroes() && floor.previous.id() != 0;
  return before_was_a_zero_op ? Fault::kLost : Fault::kZeroed;
}

std::optional<Fault> CompareWrite(uint64_t id, const BlockFloor& floor, Later later) noexcept {
  if (floor.floor == Version::Written(id) || later == Later::kAllowed) return std::nullopt;
  if (later == Later::kImpossible) return Fault::kForeign;
  const bool just_before = id >= floor.previous.id() && id < floor.floor.id();
  return just_before ? Fault::kLost : Fault::kStale;
}

}  // namespace

std::optional<Fault> Compare(const Sighting& seen, const BlockFloor& floor, Later later) noexcept {
  switch (seen.content) {
    case Content::kZeroes:
      return CompareZeroes(floor, later);
    case Content::kWrite:
      return CompareWrite(seen.write_id, floor, later);
    case Content::kTorn:
      return Fault::kTorn;
    case Content::kMisplaced:
      return Fault::kMisplaced;
    case Content::kForeign:
      return Fault::kForeign;
    case Content::kUnreadable:
      break;
  }
  return Fault::kUnreadable;
}

std::string Describe(Version version) {
  if (!version.zeroes()) return "write " + std::to_string(version.id());
  if (version.id() == 0) return "zeroes";
  return "zeroes of operation " + std::to_string(version.id());
}

std::string Describe(const Sighting& seen) {
  std::string write = "write " + std::to_string(seen.write_id);
  switch (seen.content) {
    case Content::kZeroes:
      return "zeroes";
    case Content::kWrite:
      return write;
    case Content::kTorn:
      return seen.write_id == 0 ? "torn sectors" : "torn sectors, the first of " + write;
    case Content::kMisplaced:
      return write + " of block " + std::to_string(seen.home_block);
    case Content::kForeign:
      return "foreign data";
    case Content::kUnreadable:
      break;
  }
  return "a read error";
}

}  // namespace weir::oracle
