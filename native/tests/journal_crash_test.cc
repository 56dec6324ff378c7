// Goal: after a power cut at any point no synced record is lost, what survives is a prefix of the
//   append order with the right content, dropped records never come back, and the next cut is no
//   different (I1, I2, I3; L1, L2, L9).
// Method: a random workload on a recording disk; for sampled cut points and four models of what the
//   disk kept, the folder is rebuilt and opened; some of these journals go on working and are cut
//   again, twice. That the oracle can fail is shown with a disk that ignores syncs.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "engine/journal/background.h"
#include "tests/support/journal_model.h"

namespace weir::test {
namespace {

struct Totals {
  size_t states = 0;
  size_t truncated = 0;  // states in which appended records were lost, rightly
  size_t lives[3] = {0, 0, 0};
};

struct Plan {
  uint64_t seed = 0;
  size_t steps = 0;
  size_t cuts = 0;
  size_t life = 0;
};

// What holds for a cut right before operation `op`.
const Expectation& ExpectedAt(const std::vector<Expectation>& all, size_t op) {
  const auto after = std::upper_bound(
      all.begin(), all.end(), op, [](size_t at, const Expectation& one) { return at < one.op; });
  return *(after - 1);
}

std::string RunLife(const Image& image, const Model& model, const Plan& plan, Totals& totals);

std::string CheckCut(const Image& image, const Model& model, const Expectation& expected,
                     const Plan& plan, Totals& totals, std::mt19937_64& random) {
  SimStorage storage(image);
  uint64_t tail = 0;
  std::string wrong = CheckSurvivors(storage, model, expected, &tail);
  ++totals.states;
  ++totals.lives[plan.life];
  if (!wrong.empty()) return wrong;
  if (tail < expected.appended_seq) ++totals.truncated;
  const bool go_on = plan.life < 2 && random() % 8 == 0;
  if (!go_on) return "";
  Model survived = model;
  survived.records.resize(tail);
  survived.synced_seq = expected.synced_seq;
  survived.recycled_seq = expected.recycled_seq;
  const Plan next{.seed = random(), .steps = 40, .cuts = 5, .life = plan.life + 1};
  return RunLife(image, survived, next, totals);
}

std::string RunLife(const Image& image, const Model& model, const Plan& plan, Totals& totals) {
  SimStorage storage(image);
  JournalUnderTest under_test(storage, model, plan.seed);
  if (std::string wrong = under_test.Open(); !wrong.empty()) return wrong;
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
      const std::string wrong =
          CheckCut(power.Cut(mode, random), under_test.model(), expected, plan, totals, random);
      if (wrong.empty()) continue;
      return wrong + " [seed " + std::to_string(plan.seed) + " life " + std::to_string(plan.life) +
             " cut " + std::to_string(cut) + " mode " + std::to_string(static_cast<int>(mode)) +
             "]";
    }
  }
  return "";
}

TEST(JournalCrash, NothingSyncedIsLostAtAnyCut) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const Plan plan{.seed = seed, .steps = 600, .cuts = 70, .life = 0};
    ASSERT_EQ(RunLife({}, {}, plan, totals), "") << "seed " << seed;
  }
  std::cout << totals.states << " crash states, " << totals.truncated << " with a lost tail, "
            << totals.lives[1] << " of a second and " << totals.lives[2] << " of a third life\n";
  EXPECT_GT(totals.states, 2000U);
  EXPECT_GT(totals.truncated, totals.states / 10);
  EXPECT_GT(totals.lives[2], 100U);
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
        const Plan plan{.seed = seed, .steps = 0, .cuts = 0, .life = 1};
        ASSERT_EQ(CheckCut(again.Cut(mode, random), before.model(), expected, plan, totals, random),
                  "")
            << "seed " << seed << " op " << op;
      }
    }
  }
  EXPECT_GT(totals.states, 300U);
}

std::unique_ptr<Journal> OpenPlain(SimStorage& storage, uint64_t stable_seq = 0) {
  JournalConfig config = SimConfig();
  config.stable_seq = stable_seq;
  auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, config,
                                [](const JournalRecord&) {});
  EXPECT_TRUE(opened.ok()) << opened.error().what;
  return opened.ok() ? std::move(opened.value()) : nullptr;
}

void AppendRecord(Journal& journal, const ModelRecord& record) {
  Bytes data(size_t{record.block_count} * kBlockBytes);
  for (uint32_t i = 0; i < record.block_count; ++i) {
    FillModelBlock(record, i, data.data() + size_t{i} * kBlockBytes);
  }
  ASSERT_TRUE(journal.CanStage(record.block_count));
  (void)journal.StageWrite(record.start_block, record.block_count, data.data());
  ASSERT_TRUE(journal.Commit().ok());
}

Image CutAtEnd(const SimStorage& storage, CutMode mode, std::mt19937_64& random) {
  PowerCut power(storage);
  power.AdvanceTo(storage.op_count());
  return power.Cut(mode, random);
}

// A torn record and the one that takes its place write the same blocks, with partly the same
// content, to the same bytes: only the lap keeps the remains of the first from completing the
// second. The record that opens the lap shifts what follows; `shifted` makes the places coincide
// again.
std::string MixTornWithFresh(bool shifted, std::mt19937_64& random, size_t* torn) {
  const ModelRecord base{.start_block = 0, .block_count = 1, .stamp = 0};
  const ModelRecord old{.start_block = 0, .block_count = 3, .stamp = 0b01'01'01};
  const ModelRecord fresh{.start_block = 0, .block_count = 3, .stamp = 0b10'01'01};
  SimStorage first;
  {
    const auto journal = OpenPlain(first);
    AppendRecord(*journal, base);
    for (const int fd : journal->sync_fds()) EXPECT_TRUE(first.Sync(fd).ok());
    if (shifted) (void)journal->StageZeroes(0, 1);
    AppendRecord(*journal, old);
  }
  SimStorage second(CutAtEnd(first, CutMode::kPages, random));
  {
    const auto journal = OpenPlain(second);
    if (journal->committed_seq() != 1) return "";
    ++*torn;
    AppendRecord(*journal, fresh);
  }
  SimStorage third(CutAtEnd(second, CutMode::kPages, random));
  uint64_t tail = 0;
  Model model;
  model.records = {base, fresh};
  return CheckSurvivors(third, model, {.synced_seq = 1, .appended_seq = 2}, &tail);
}

TEST(JournalCrash, RemainsOfATornRecordNeverCompleteAnother) {
  std::mt19937_64 random(8);
  for (const bool shifted : {false, true}) {
    size_t torn = 0;
    for (int round = 0; round < 2000; ++round) {
      ASSERT_EQ(MixTornWithFresh(shifted, random, &torn), "") << round << " shifted: " << shifted;
    }
    EXPECT_GT(torn, 500U);
  }
}

// The log may hold records that the journal lost in the cut; their numbers stay used up for good.
TEST(JournalCrash, GoesOnBehindTheLogAtAnyCut) {
  constexpr uint64_t kStable = 9;
  const ModelRecord record{.start_block = 1, .block_count = 2, .stamp = 3};
  std::mt19937_64 random(9);
  SimStorage first;
  AppendRecord(*OpenPlain(first), record);
  const Image image = CutAtEnd(first, CutMode::kAll, random);
  SimStorage second(image);
  const auto journal = OpenPlain(second, kStable);
  const size_t opened = second.op_count();
  AppendRecord(*journal, record);
  for (const int fd : journal->sync_fds()) ASSERT_TRUE(second.Sync(fd).ok());
  PowerCut power(second);
  for (size_t op = 0; op <= second.op_count(); ++op) {
    power.AdvanceTo(op);
    for (const CutMode mode : kCutModes) {
      SimStorage after(power.Cut(mode, random));
      const uint64_t tail = OpenPlain(after, kStable)->committed_seq();
      EXPECT_GE(tail, op == second.op_count() ? kStable + 1 : kStable) << op;
      if (op <= opened) continue;
      SimStorage again(power.Cut(mode, random));
      EXPECT_GE(OpenPlain(again)->committed_seq(), kStable) << op;
    }
  }
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
