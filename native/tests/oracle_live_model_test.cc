// Goal: during a run no two operations conflict, and a read has one right answer, or settles which
// of several a crash left. Method: models over histories made by hand.
#include <gtest/gtest.h>

#include "oracle/live_model.h"
#include "tests/support/oracle_history.h"

namespace weir::oracle {
namespace {

LiveModel ModelOf(const HistoryBuilder& builder) {
  const History history = builder.history();
  return LiveModel(history, OpTable(history));
}

struct Check {
  std::string fault;
  size_t observations = 0;
  bool operator==(const Check&) const = default;
};

Check Read(LiveModel& model, Sighting seen, uint64_t next_id = 100) {
  LiveModel::ReadResult result;
  model.CheckRead({0, 1}, {&seen, 1}, next_id, result);
  const bool sound = result.findings.empty();
  const auto fault = sound ? "" : kFaultNames[static_cast<size_t>(result.findings[0].kind)];
  return {std::string(fault), result.observations.size()};
}

TEST(OracleLiveModel, WritersExcludeEverybodyAndReadersWriters) {
  LiveModel model = ModelOf(HistoryBuilder(8));
  model.Begin(Op::kWrite, {2, 2});
  EXPECT_FALSE(model.IsFree(Op::kRead, {3, 2}));
  EXPECT_FALSE(model.IsFree(Op::kTrim, {1, 2}));
  EXPECT_TRUE(model.IsFree(Op::kTrim, {4, 4}));
  model.End(1, Op::kWrite, {2, 2}, true);
  model.Begin(Op::kRead, {2, 2});
  model.Begin(Op::kRead, {3, 2});
  EXPECT_FALSE(model.IsFree(Op::kZero, {4, 1}));
  model.End(0, Op::kRead, {3, 2}, true);
  EXPECT_TRUE(model.IsFree(Op::kZero, {4, 1}));
  EXPECT_FALSE(model.IsFree(Op::kZero, {3, 1}));
  EXPECT_TRUE(model.IsFree(Op::kRead, {3, 1}));
}

TEST(OracleLiveModel, AReadHasOneRightAnswer) {
  LiveModel model = ModelOf(HistoryBuilder(1));
  EXPECT_EQ(Read(model, SeenZeroes()), Check{});
  model.End(1, Op::kWrite, {0, 1}, true);
  model.End(2, Op::kWrite, {0, 1}, true);
  EXPECT_EQ(Read(model, SeenWrite(2), 3), Check{});
  EXPECT_EQ(Read(model, SeenWrite(1), 3), Check{"lost"});
  EXPECT_EQ(Read(model, SeenZeroes(), 3), Check{"zeroed"});
  EXPECT_EQ(Read(model, SeenWrite(3), 3), Check{"foreign"});
  model.End(3, Op::kTrim, {0, 1}, true);
  EXPECT_EQ(Read(model, SeenZeroes(), 4), Check{});
  EXPECT_EQ(Read(model, SeenWrite(2), 4), Check{"lost"});
  EXPECT_EQ(Read(model, SeenWrite(1), 4), Check{"stale"});
}

TEST(OracleLiveModel, TheFirstReadAfterACrashSettlesTheOutcome) {
  HistoryBuilder h(1);
  const uint64_t acked = h.Write(0);
  const uint64_t open = h.Submit(Op::kWrite, {0, 1});
  for (const uint64_t first : {acked, open}) {
    LiveModel model = ModelOf(h);
    EXPECT_EQ(Read(model, SeenWrite(first)), (Check{"", 1}));
    EXPECT_EQ(Read(model, SeenWrite(first)), Check{});
    const uint64_t other = first == acked ? open : acked;
    EXPECT_NE(Read(model, SeenWrite(other)).fault, "");
  }
}

TEST(OracleLiveModel, AnAckedWriteSettlesTheOutcomeToo) {
  HistoryBuilder h(1);
  const uint64_t acked = h.Write(0);
  const uint64_t open = h.Submit(Op::kTrim, {0, 1});
  LiveModel model = ModelOf(h);
  model.End(h.next_id(), Op::kWrite, {0, 1}, true);
  EXPECT_EQ(Read(model, SeenWrite(h.next_id())), Check{});
  EXPECT_NE(Read(model, SeenWrite(acked)).fault, "");
  EXPECT_NE(Read(model, SeenZeroes()).fault, "");
  EXPECT_LT(open, h.next_id());
}

TEST(OracleLiveModel, AFailedOperationMayHaveHappened) {
  LiveModel model = ModelOf(HistoryBuilder(1));
  model.End(1, Op::kWrite, {0, 1}, true);
  model.End(2, Op::kZero, {0, 1}, false);
  EXPECT_EQ(Read(model, SeenZeroes()), (Check{"", 1}));
  EXPECT_EQ(Read(model, SeenWrite(1)), Check{"lost"});
}

TEST(OracleLiveModel, ItMayHaveHappenedForTheNextRunToo) {
  HistoryBuilder h(1);
  h.Ack(h.Submit(Op::kWrite, {0, 1}), -5);
  LiveModel model = ModelOf(h);
  EXPECT_EQ(Read(model, SeenWrite(1)), (Check{"", 1}));
}

}  // namespace
}  // namespace weir::oracle
