// Comparing blocks with their floors, then with each other.
#include "oracle/judge.h"

#include <algorithm>

namespace weir::oracle {
namespace {

// Where a search for zeroes begins: blocks that need none have kNever.
using SearchFrom = std::vector<uint64_t>;

class Judgement {
 public:
  explicit Judgement(const Evidence& evidence)
      : evidence_(evidence),
        ops_(evidence.ops),
        floors_(FloorsOf(evidence.history, evidence.ops, evidence.promise)),
        sound_(evidence.seen.size(), true) {
    WEIR_CHECK(evidence.seen.size() == evidence.history.blocks);
    verdict_.observed.resize(evidence.seen.size());
  }

  Verdict Decide() && {
    ExplainZeroes();
    for (uint64_t block = 0; block < evidence_.seen.size(); ++block) CompareWithFloor(block);
    // Where every acknowledged operation must be there, the prefix property asks for nothing more.
    if (evidence_.promise != Promise::kAcked) CheckPrefix();
    return std::move(verdict_);
  }

 private:
  [[nodiscard]] bool IsZero(uint64_t block) const {
    return evidence_.seen[block].content == Content::kZeroes;
  }

  // For each block the oldest trim or zero operation from `from` on, kNever where there is none.
  [[nodiscard]] std::vector<uint64_t> OldestZeroOps(const SearchFrom& from) const {
    std::vector<uint64_t> oldest(from.size(), kNever);
    for (uint64_t id = ops_.first_id(); id < ops_.next_id(); ++id) {
      const LoggedOp& op = *ops_.Find(id);
      if (!MakesZeroes(op.op)) continue;
      for (uint64_t b = op.first_block; b < op.first_block + op.block_count; ++b) {
        if (id >= from[b] && oldest[b] == kNever) oldest[b] = id;
      }
    }
    return oldest;
  }

  void ExplainZeroes() {
    SearchFrom from(evidence_.seen.size(), kNever);
    for (uint64_t block = 0; block < from.size(); ++block) {
      const BlockFloor& floor = floors_[block];
      if (IsZero(block) && !floor.floor.zeroes()) from[block] = floor.newer_from;
    }
    zero_op_ = OldestZeroOps(from);
  }

  [[nodiscard]] Later LaterFor(uint64_t block) const {
    const Sighting& seen = evidence_.seen[block];
    if (IsZero(block)) return zero_op_[block] != kNever ? Later::kAllowed : Later::kNo;
    if (seen.write_id < ops_.first_id()) return Later::kNo;
    const LoggedOp* op = ops_.Find(seen.write_id);
    const bool made_here = op != nullptr && op->op == Op::kWrite && op->Covers(block);
    if (!made_here) return Later::kImpossible;
    return seen.write_id >= floors_[block].newer_from ? Later::kAllowed : Later::kNo;
  }

  void CompareWithFloor(uint64_t block) {
    const Sighting& seen = evidence_.seen[block];
    const BlockFloor& floor = floors_[block];
    const auto fault = Compare(seen, floor, LaterFor(block));
    if (fault) {
      sound_[block] = false;
      verdict_.findings.Add({*fault, block, Describe(floor.floor), Describe(seen)});
    } else if (!IsZero(block)) {
      verdict_.observed[block] = Version::Written(seen.write_id);
    } else {
      verdict_.observed[block] =
          floor.floor.zeroes() ? floor.floor : Version::Zeroed(zero_op_[block]);
    }
  }

  // The youngest operation that can be seen, and a block where it is seen.
  struct Survivor {
    uint64_t id = 0;
    uint64_t block = 0;
  };
  [[nodiscard]] Survivor YoungestSurvivor() const {
    Survivor youngest;
    for (uint64_t block = 0; block < sound_.size(); ++block) {
      const uint64_t id = verdict_.observed[block].id();
      if (sound_[block] && id > youngest.id) youngest = {id, block};
    }
    return youngest;
  }

  [[nodiscard]] bool IsTooOld(uint64_t block, const Floors& required) const {
    return sound_[block] && verdict_.observed[block].id() < required[block].floor.id();
  }

  // Zeroes that are too old may stem from a younger trim: they count as that one then, which may in
  // turn move the youngest survivor.
  [[nodiscard]] bool MoveZeroes(const Floors& required) {
    SearchFrom from(sound_.size(), kNever);
    for (uint64_t block = 0; block < from.size(); ++block) {
      if (IsZero(block) && IsTooOld(block, required)) from[block] = required[block].floor.id();
    }
    bool moved = false;
    const auto younger = OldestZeroOps(from);
    for (uint64_t block = 0; block < younger.size(); ++block) {
      if (younger[block] == kNever) continue;
      verdict_.observed[block] = Version::Zeroed(younger[block]);
      moved = true;
    }
    return moved;
  }

  void CheckPrefix() {
    for (;;) {
      const Survivor survivor = YoungestSurvivor();
      const LoggedOp* op = ops_.Find(survivor.id);
      if (op == nullptr) return;
      const Floors required = AckedBefore(evidence_.history, ops_, op->submit_at);
      if (MoveZeroes(required)) continue;
      for (uint64_t block = 0; block < sound_.size(); ++block) {
        if (IsTooOld(block, required)) ReportPair(block, required[block].floor, survivor);
      }
      return;
    }
  }

  void ReportPair(uint64_t block, Version missing, const Survivor& survivor) {
    const std::string survived = "operation " + std::to_string(survivor.id) +
                                 " was submitted, which survived on block " +
                                 std::to_string(survivor.block);
    verdict_.findings.Add({Fault::kPrefix, block,
                           Describe(missing) + ", acknowledged before " + survived,
                           Describe(evidence_.seen[block])});
  }

  const Evidence& evidence_;
  const OpTable& ops_;
  Floors floors_;
  std::vector<bool> sound_;
  std::vector<uint64_t> zero_op_;
  Verdict verdict_;
};

}  // namespace

Verdict Judge(const Evidence& evidence) { return Judgement(evidence).Decide(); }

}  // namespace weir::oracle
