// Goal: the judge allows exactly the versions that a promise leaves open, and names each violation.
// Method: histories of a few operations made by hand, with devices that keep or break the promise.
#include <gtest/gtest.h>

#include "tests/support/oracle_history.h"

namespace weir::oracle {
namespace {

// What the judge says of one block, in short: "" when it is allowed.
std::string FaultOf(const HistoryBuilder& history, const std::vector<Sighting>& seen,
                    Promise promise) {
  const Verdict verdict = JudgeHistory(history, seen, promise);
  std::string faults;
  for (const Finding& finding : verdict.findings.first()) {
    faults += faults.empty() ? "" : ",";
    faults += kFaultNames[static_cast<size_t>(finding.kind)];
  }
  EXPECT_EQ(verdict.findings.total(), verdict.findings.first().size());
  return faults;
}

TEST(OracleJudge, AckedModeWantsTheNewestAckedVersion) {
  HistoryBuilder h(1);
  const uint64_t a = h.Write(0);
  const uint64_t b = h.Write(0);
  const uint64_t c = h.Write(0);
  EXPECT_EQ(FaultOf(h, {SeenWrite(c)}, Promise::kAcked), "");
  EXPECT_EQ(FaultOf(h, {SeenWrite(b)}, Promise::kAcked), "lost");
  EXPECT_EQ(FaultOf(h, {SeenWrite(a)}, Promise::kAcked), "stale");
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kAcked), "zeroed");
  EXPECT_EQ(FaultOf(h, {SeenWrite(c + 1)}, Promise::kAcked), "foreign");
  EXPECT_EQ(FaultOf(h, {{.content = Content::kTorn}}, Promise::kAcked), "torn");
  EXPECT_EQ(FaultOf(h, {{.content = Content::kMisplaced}}, Promise::kAcked), "misplaced");
  EXPECT_EQ(FaultOf(h, {{.content = Content::kForeign}}, Promise::kAcked), "foreign");
  EXPECT_EQ(FaultOf(h, {{.content = Content::kUnreadable}}, Promise::kAcked), "unreadable");
}

TEST(OracleJudge, AnUnansweredOrFailedWriteMayBeThereOrNot) {
  for (const bool failed : {false, true}) {
    HistoryBuilder h(1);
    const uint64_t a = h.Write(0);
    const uint64_t open = h.Submit(Op::kWrite, {0, 1});
    if (failed) h.Ack(open, -5);
    EXPECT_EQ(FaultOf(h, {SeenWrite(a)}, Promise::kAcked), "");
    EXPECT_EQ(FaultOf(h, {SeenWrite(open)}, Promise::kAcked), "");
    const uint64_t b = h.Write(0);
    EXPECT_EQ(FaultOf(h, {SeenWrite(b)}, Promise::kAcked), "");
    EXPECT_EQ(FaultOf(h, {SeenWrite(open)}, Promise::kAcked), "lost");
  }
}

TEST(OracleJudge, AStampOfAnOperationElsewhereIsForeign) {
  HistoryBuilder h(2);
  const uint64_t a = h.Write(0);
  const uint64_t trim = h.Do(Op::kTrim, {1, 1});
  EXPECT_EQ(FaultOf(h, {SeenWrite(a), SeenWrite(a)}, Promise::kAcked), "foreign");
  EXPECT_EQ(FaultOf(h, {SeenWrite(a), SeenWrite(trim)}, Promise::kAcked), "foreign");
}

TEST(OracleJudge, ZeroesNeedATrimOrZeroOperation) {
  HistoryBuilder h(1);
  const uint64_t a = h.Write(0);
  const uint64_t trim = h.Submit(Op::kTrim, {0, 1});
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kAcked), "");
  EXPECT_EQ(FaultOf(h, {SeenWrite(a)}, Promise::kAcked), "");
  h.Ack(trim);
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kAcked), "");
  EXPECT_EQ(FaultOf(h, {SeenWrite(a)}, Promise::kAcked), "lost");
  h.Write(0);
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kAcked), "lost");
  h.Write(0);
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kAcked), "zeroed");
}

TEST(OracleJudge, AnObservationRulesTheOtherOutcomeOut) {
  HistoryBuilder h(1);
  const uint64_t a = h.Write(0);
  const uint64_t open = h.Submit(Op::kWrite, {0, 1});
  h.Observe(0, Version::Written(a));
  EXPECT_EQ(FaultOf(h, {SeenWrite(a)}, Promise::kAcked), "");
  EXPECT_EQ(FaultOf(h, {SeenWrite(open)}, Promise::kAcked), "stale");
}

TEST(OracleJudge, AFlushCoversWhatWasAckedBeforeItWasSubmitted) {
  HistoryBuilder h(3);
  const uint64_t before = h.Write(0);
  const uint64_t during = h.Submit(Op::kWrite, {1, 1});
  const uint64_t flush = h.Submit(Op::kFlush, {});
  h.Ack(during);
  h.Ack(flush);
  const uint64_t fua = h.Do(Op::kWrite, {2, 1}, true);
  const auto lost = [&](Sighting x, Sighting y, Sighting z) {
    return JudgeHistory(h, {x, y, z}, Promise::kFlushed).findings.Count(Fault::kZeroed);
  };
  EXPECT_EQ(lost(SeenWrite(before), SeenWrite(during), SeenWrite(fua)), 0U);
  EXPECT_EQ(lost(SeenZeroes(), SeenWrite(during), SeenWrite(fua)), 1U);
  EXPECT_EQ(lost(SeenWrite(before), SeenZeroes(), SeenWrite(fua)), 0U);
  EXPECT_EQ(lost(SeenWrite(before), SeenWrite(during), SeenZeroes()), 1U);
}

TEST(OracleJudge, AnUnansweredOrFailedFlushOwesNothing) {
  HistoryBuilder h(1);
  h.Write(0);
  h.Submit(Op::kFlush, {});
  const uint64_t failed = h.Submit(Op::kFlush, {});
  h.Ack(failed, -5);
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kFlushed), "");
}

TEST(OracleJudge, APowerCutMayLeaveAnyVersionSinceTheFlush) {
  HistoryBuilder h(1);
  const uint64_t oldest = h.Write(0);
  h.Flush();
  const uint64_t old = h.Write(0);
  h.Flush();
  const uint64_t a = h.Write(0);
  const uint64_t b = h.Write(0);
  for (const uint64_t id : {old, a, b}) {
    EXPECT_EQ(FaultOf(h, {SeenWrite(id)}, Promise::kFlushed), "") << id;
  }
  EXPECT_EQ(FaultOf(h, {SeenWrite(oldest)}, Promise::kFlushed), "lost");
  EXPECT_EQ(FaultOf(h, {SeenWrite(oldest)}, Promise::kImage), "");
  EXPECT_EQ(FaultOf(h, {SeenZeroes()}, Promise::kImage), "");
}

TEST(OracleJudge, PrefixReportsThePair) {
  HistoryBuilder h(2);
  const uint64_t first = h.Write(0);
  const uint64_t second = h.Write(1);
  for (const Promise promise : {Promise::kFlushed, Promise::kImage}) {
    EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenZeroes()}, promise), "");
    EXPECT_EQ(FaultOf(h, {SeenWrite(first), SeenZeroes()}, promise), "");
    EXPECT_EQ(FaultOf(h, {SeenWrite(first), SeenWrite(second)}, promise), "");
    EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(second)}, promise), "prefix");
  }
  const Verdict verdict = JudgeHistory(h, {SeenZeroes(), SeenWrite(second)}, Promise::kImage);
  EXPECT_EQ(verdict.findings.first()[0].block, 0U);
  EXPECT_EQ(verdict.findings.first()[0].expected,
            "write 1, acknowledged before operation 2 was submitted, which survived on block 1");
  EXPECT_EQ(verdict.findings.first()[0].found, "zeroes");
}

TEST(OracleJudge, ConcurrentOperationsHaveNoOrder) {
  HistoryBuilder h(2);
  const uint64_t first = h.Submit(Op::kWrite, {0, 1});
  const uint64_t second = h.Submit(Op::kWrite, {1, 1});
  h.Ack(first);
  h.Ack(second);
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(second)}, Promise::kImage), "");
  EXPECT_EQ(FaultOf(h, {SeenWrite(first), SeenZeroes()}, Promise::kImage), "");
}

TEST(OracleJudge, AnUnackedSurvivorDemandsWhatWasAckedBeforeIt) {
  HistoryBuilder h(2);
  h.Write(0);
  const uint64_t open = h.Submit(Op::kWrite, {1, 1});
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(open)}, Promise::kImage), "prefix");
}

TEST(OracleJudge, PrefixIsKeptBySomethingNewerOnTheBlock) {
  HistoryBuilder h(2);
  h.Write(0);
  const uint64_t second = h.Write(1);
  const uint64_t third = h.Submit(Op::kWrite, {0, 1});
  EXPECT_EQ(FaultOf(h, {SeenWrite(third), SeenWrite(second)}, Promise::kImage), "");
}

TEST(OracleJudge, ZeroesCountAsTheOldestOperationThatExplainsThem) {
  HistoryBuilder h(2);
  h.Do(Op::kTrim, {0, 1});
  const uint64_t other = h.Write(1);
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenZeroes()}, Promise::kImage), "");
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(other)}, Promise::kImage), "");
  // The block was written and acknowledged between: only the second trim explains the zeroes now,
  // and it was submitted behind the write of block 1, which must therefore be there.
  h.Write(0);
  const uint64_t late = h.Write(1);
  h.Do(Op::kTrim, {0, 1});
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(late)}, Promise::kImage), "");
}

TEST(OracleJudge, ZeroesThatOnlyALateTrimExplainsAreASurvivorToo) {
  HistoryBuilder h(3);
  const uint64_t old = h.Write(0);
  h.Write(1);
  h.Write(2);
  h.Flush();
  const uint64_t newer = h.Write(1);
  h.Do(Op::kTrim, {0, 1});
  // The trim came after the ack of `newer` and survived, so `newer` had to survive.
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(2), SeenWrite(3)}, Promise::kFlushed), "prefix");
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(newer), SeenWrite(3)}, Promise::kFlushed), "");
  EXPECT_EQ(FaultOf(h, {SeenWrite(old), SeenWrite(2), SeenWrite(3)}, Promise::kFlushed), "");
}

TEST(OracleJudge, ASecondTrimThatMustHaveSurvivedMovesTheCut) {
  HistoryBuilder h(3);
  h.Do(Op::kTrim, {0, 1});
  h.Write(0);
  const uint64_t cut = h.Write(1);
  const uint64_t between = h.Write(2);
  h.Do(Op::kTrim, {0, 1});
  // Block 1 demands the write of block 0, which only the second trim can have undone; that trim in
  // turn was submitted behind the ack of the write of block 2.
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(cut), SeenZeroes()}, Promise::kImage), "prefix");
  EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenWrite(cut), SeenWrite(between)}, Promise::kImage), "");
}

TEST(OracleJudge, ASettledBaseIsTheFloor) {
  HistoryBuilder h(3, 100);
  h.Base(0, Version::Written(50));
  h.Base(1, Version());
  h.Base(2, Version::Written(60));
  const uint64_t id = h.Write(2);
  for (const Promise promise : {Promise::kAcked, Promise::kFlushed, Promise::kImage}) {
    const Sighting last = SeenWrite(id);
    EXPECT_EQ(FaultOf(h, {SeenWrite(50), SeenZeroes(), last}, promise), "");
    EXPECT_EQ(FaultOf(h, {SeenWrite(49), SeenZeroes(), last}, promise), "stale");
    EXPECT_EQ(FaultOf(h, {SeenWrite(51), SeenZeroes(), last}, promise), "stale");
    EXPECT_EQ(FaultOf(h, {SeenWrite(50), SeenWrite(7), last}, promise), "stale");
    EXPECT_EQ(FaultOf(h, {SeenZeroes(), SeenZeroes(), last}, promise), "zeroed");
  }
  EXPECT_EQ(FaultOf(h, {SeenWrite(50), SeenZeroes(), SeenWrite(60)}, Promise::kAcked), "lost");
  EXPECT_EQ(FaultOf(h, {SeenWrite(50), SeenZeroes(), SeenWrite(60)}, Promise::kImage), "");
}

}  // namespace
}  // namespace weir::oracle
