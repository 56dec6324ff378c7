// Goal: after a power cut at any point no synced record is lost, what survives is a prefix of the
//   append order with the right content, dropped records never come back, and the next cut is no
//   different (I1, I2, I3; L1, L2, L9).
// Method: a random workload on a recording disk; for sampled cut points and four models of what the
//   disk kept, the folder is rebuilt and opened; some of these journals go on working and are cut
//   again, twice. That the oracle can fail is shown with a disk that ignores syncs.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "tests/support/journal_model.h"

namespace weir::test {
namespace {

struct Totals {
  size_t states = 0;
  size_t truncated = 0;  // states in which appended records were lost, rightly
  size_t generations[3] = {0, 0, 0};
};

struct Plan {
  uint64_t seed = 0;
  size_t steps = 0;
  size_t cuts = 0;
  size_t generation = 0;
};

// What holds for a cut right before operation `op`.
const Expectation& ExpectedAt(const std::vector<Expectation>& all, size_t op) {
  const auto after = std::upper_bound(all.begin(), all.end(), op,
                                      [](size_t at, const Expectation& one) { return at < one.op; });
  return *(after - 1);
}

std::string RunGeneration(const Image& image, const Model& model, const Plan& plan, Totals& totals);

std::string CheckCut(const Image& image, const Model& model, const Expectation& expected,
                     const Plan& plan, Totals& totals, std::mt19937_64& random) {
  SimStorage storage(image);
  uint64_t tail = 0;
  const std::string wrong = CheckSurvivors(storage, model, expected, &tail);
  ++totals.states;
  ++totals.generations[plan.generation];
  if (!wrong.empty()) return wrong;
  if (tail < expected.appended_seq) ++totals.truncated;
  const bool go_on = plan.generation < 2 && random() % 6 == 0;
  if (!go_on) return "";
  Model survived = model;
  survived.records.resize(tail);
  survived.synced_seq = expected.synced_seq;
  survived.recycled_seq = expected.recycled_seq;
  const Plan next{.seed = random(), .steps = 40, .cuts = 5, .generation = plan.generation + 1};
  return RunGeneration(image, survived, next, totals);
}

std::string RunGeneration(const Image& image, const Model& model, const Plan& plan, Totals& totals) {
  SimStorage storage(image);
  JournalUnderTest under_test(storage, model, plan.seed);
  if (const std::string wrong = under_test.Open(); !wrong.empty()) return wrong;
  for (size_t step = 0; step < plan.steps; ++step) {
    if (!under_test.Step()) return "the journal refused without a fault";
  }
  std::mt19937_64 random(plan.seed + 1);
  std::vector<size_t> cuts;
  for (size_t i = 0; i < plan.cuts; ++i) cuts.push_back(random() % (storage.op_count() + 1));
  std::sort(cuts.begin(), cuts.end());
  PowerCut power(storage);
  for (const size_t cut : cuts) {
    power.AdvanceTo(cut);
    const Expectation expected = ExpectedAt(under_test.expectations(), cut);
    for (const CutMode mode : kCutModes) {
      const std::string wrong = CheckCut(power.Cut(mode, random), under_test.model(), expected, plan,
                                         totals, random);
      if (wrong.empty()) continue;
      return wrong + " [seed " + std::to_string(plan.seed) + " generation " +
             std::to_string(plan.generation) + " cut " + std::to_string(cut) + " mode " +
             std::to_string(static_cast<int>(mode)) + "]";
    }
  }
  return "";
}

TEST(JournalCrash, NothingSyncedIsLostAtAnyCut) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    const Plan plan{.seed = seed, .steps = 600, .cuts = 70, .generation = 0};
    ASSERT_EQ(RunGeneration({}, {}, plan, totals), "") << "seed " << seed;
  }
  std::cout << totals.states << " crash states, " << totals.truncated << " with a lost tail, "
            << totals.generations[1] << " of a second and " << totals.generations[2]
            << " of a third generation\n";
  EXPECT_GT(totals.states, 2000U);
  EXPECT_GT(totals.truncated, totals.states / 10);
  EXPECT_GT(totals.generations[2], 100U);
}

// Opening is itself a series of writes: every single one of them is a cut point here.
TEST(JournalCrash, EveryStepOfOpenIsSafe) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SimStorage first;
    JournalUnderTest before(first, {}, seed);
    ASSERT_EQ(before.Open(), "");
    for (int step = 0; step < 80; ++step) ASSERT_TRUE(before.Step());
    std::mt19937_64 random(seed);
    PowerCut power(first);
    power.AdvanceTo(first.op_count());
    const Image cut = power.Cut(CutMode::kTorn, random);

    SimStorage second(cut);
    JournalUnderTest after(second, before.model(), seed);
    ASSERT_EQ(after.Open(), "");
    const size_t steps = second.op_count();
    PowerCut again(second);
    for (size_t op = 0; op <= steps; ++op) {
      again.AdvanceTo(op);
      const Expectation expected = ExpectedAt(after.expectations(), op);
      for (const CutMode mode : kCutModes) {
        const Plan plan{.seed = seed, .steps = 0, .cuts = 0, .generation = 1};
        ASSERT_EQ(CheckCut(again.Cut(mode, random), before.model(), expected, plan, totals, random), "")
            << "seed " << seed << " op " << op;
      }
    }
  }
  EXPECT_GT(totals.states, 300U);
}

TEST(JournalCrash, TheOracleNoticesADiskThatIgnoresSyncs) {
  SimStorage storage;
  storage.ignore_syncs = true;
  JournalUnderTest under_test(storage, {}, 5);
  ASSERT_EQ(under_test.Open(), "");
  for (int step = 0; step < 200; ++step) ASSERT_TRUE(under_test.Step());
  PowerCut power(storage);
  std::mt19937_64 random(5);
  size_t noticed = 0;
  for (size_t cut = storage.op_count() / 2; cut < storage.op_count(); cut += 7) {
    power.AdvanceTo(cut);
    SimStorage after(power.Cut(CutMode::kNothing, random));
    uint64_t tail = 0;
    const Expectation expected = ExpectedAt(under_test.expectations(), cut);
    if (!CheckSurvivors(after, under_test.model(), expected, &tail).empty()) ++noticed;
  }
  EXPECT_GT(noticed, 0U);
}

}  // namespace
}  // namespace weir::test
