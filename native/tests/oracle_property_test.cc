// Goal: the judge accepts every crash of a device that keeps its promises, and finds every fault
// that a device could hide in one. Method: a simulated device under random work and crashes; faults
// are planted in what it holds where the history says that they must show. The counts at the end
// prove that faults were planted at all.
#include <gtest/gtest.h>

#include <optional>

#include "tests/support/oracle_sim_device.h"

namespace weir::oracle {
namespace {

constexpr uint64_t kSeeds = 400;
constexpr int kRounds = 4;

std::vector<Sighting> Seen(const std::vector<Version>& content) {
  std::vector<Sighting> seen;
  seen.reserve(content.size());
  for (const Version version : content) {
    seen.push_back(version.zeroes() ? SeenZeroes() : SeenWrite(version.id()));
  }
  return seen;
}

// Runs `check` after work and a crash of each simulated device, several rounds long.
template <typename Check>
void ForEachCrash(Check check) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SimDevice device(seed);
    for (int round = 0; round < kRounds; ++round) {
      device.Work(200);
      check(device);
      ASSERT_EQ(device.wrong_reads(), 0U);
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
}

size_t Between(Random& random, size_t low, size_t high) {
  return low + random.Below(high - low + 1);
}

std::string FirstOf(const Verdict& verdict) {
  if (verdict.findings.total() == 0) return "";
  const Finding& f = verdict.findings.first()[0];
  return std::string(kFaultNames[static_cast<size_t>(f.kind)]) + " at " + std::to_string(f.block) +
         ": " + f.expected + " / " + f.found;
}

TEST(OracleProperty, EveryProcessDeathIsAccepted) {
  ForEachCrash([](SimDevice& device) {
    const auto content = device.ContentAt(device.journal_size());
    const Verdict verdict = JudgeHistory(device.history(), Seen(content), Promise::kAcked);
    EXPECT_EQ(FirstOf(verdict), "");
    device.Crash(device.journal_size());
    if (device.random().Percent(50)) device.Settle(verdict.observed);
  });
}

TEST(OracleProperty, EveryPowerCutIsAcceptedAndCanBeSettled) {
  ForEachCrash([](SimDevice& device) {
    const size_t kept = Between(device.random(), device.durable_size(), device.journal_size());
    const auto content = device.ContentAt(kept);
    const Verdict verdict = JudgeHistory(device.history(), Seen(content), Promise::kFlushed);
    EXPECT_EQ(FirstOf(verdict), "");
    device.Crash(kept);
    device.Settle(verdict.observed);
  });
}

TEST(OracleProperty, EveryPrefixIsAnImageAcrossProcessDeaths) {
  ForEachCrash([](SimDevice& device) {
    const size_t position = Between(device.random(), 0, device.journal_size());
    const auto content = device.ContentAt(position);
    const Verdict verdict = JudgeHistory(device.history(), Seen(content), Promise::kImage);
    EXPECT_EQ(FirstOf(verdict), "");
    device.Crash(device.journal_size());
  });
}

// Blocks whose newest submitted operation is an acknowledged write that the device holds: nothing
// but this write can be right there once it is required.
std::vector<uint64_t> PlainBlocks(const SimDevice& device, const std::vector<Version>& content) {
  const History history = device.history().history();
  const OpTable ops(history);
  std::vector<uint64_t> newest(SimDevice::kBlocks, 0);
  for (uint64_t id = ops.first_id(); id < ops.next_id(); ++id) {
    const LoggedOp& op = *ops.Find(id);
    for (uint64_t b = op.first_block; b < op.first_block + op.block_count; ++b) newest[b] = id;
  }
  std::vector<uint64_t> plain;
  for (uint64_t b = 0; b < SimDevice::kBlocks; ++b) {
    const LoggedOp* op = ops.Find(newest[b]);
    const bool acked = op != nullptr && op->ack_at != kNever;
    if (acked && content[b] == Version::Written(newest[b])) plain.push_back(b);
  }
  return plain;
}

TEST(OracleProperty, ADroppedAckedWriteIsFoundAfterAProcessDeath) {
  size_t planted = 0;
  ForEachCrash([&](SimDevice& device) {
    const auto content = device.ContentAt(device.journal_size());
    for (const uint64_t b : PlainBlocks(device, content)) {
      const auto without = device.ContentAt(device.journal_size(), content[b].id());
      const Verdict verdict = JudgeHistory(device.history(), Seen(without), Promise::kAcked);
      const Findings& found = verdict.findings;
      EXPECT_GT(found.total(), 0U) << "write " << content[b].id();
      EXPECT_EQ(found.total(), found.Count(Fault::kLost) + found.Count(Fault::kStale) +
                                   found.Count(Fault::kZeroed));
      ++planted;
    }
  });
  EXPECT_GT(planted, 5000U);
}

TEST(OracleProperty, ADroppedFlushedWriteIsFoundAfterAPowerCut) {
  size_t planted = 0;
  ForEachCrash([&](SimDevice& device) {
    const History history = device.history().history();
    const Floors owed = FloorsOf(history, OpTable(history), Promise::kFlushed);
    const auto content = device.ContentAt(device.journal_size());
    for (const uint64_t b : PlainBlocks(device, content)) {
      if (owed[b].floor != content[b]) continue;
      const auto without = device.ContentAt(device.journal_size(), content[b].id());
      const Verdict verdict = JudgeHistory(device.history(), Seen(without), Promise::kFlushed);
      EXPECT_GT(verdict.findings.total(), 0U) << "write " << content[b].id();
      EXPECT_EQ(verdict.findings.Count(Fault::kTorn), 0U);
      ++planted;
    }
  });
  EXPECT_GT(planted, 1000U);
}

// A write that was acknowledged before a visible one was submitted, and that no flush covers.
TEST(OracleProperty, AReorderedWriteIsFoundInAnImage) {
  size_t planted = 0;
  ForEachCrash([&](SimDevice& device) {
    const OpTable ops(device.history().history());
    const auto content = device.ContentAt(device.journal_size());
    const auto plain = PlainBlocks(device, content);
    uint64_t last = 0;
    for (const uint64_t b : plain) last = std::max(last, content[b].id());
    for (const uint64_t b : plain) {
      const uint64_t id = content[b].id();
      if (ops.Find(id)->ack_at >= ops.Find(last)->submit_at) continue;
      const auto without = device.ContentAt(device.journal_size(), id);
      const Verdict verdict = JudgeHistory(device.history(), Seen(without), Promise::kImage);
      EXPECT_GT(verdict.findings.Count(Fault::kPrefix), 0U) << "write " << id;
      EXPECT_EQ(verdict.findings.total(), verdict.findings.Count(Fault::kPrefix));
      ++planted;
    }
  });
  EXPECT_GT(planted, 5000U);
}

TEST(OracleProperty, ADamagedBlockIsFoundUnderEveryPromise) {
  ForEachCrash([](SimDevice& device) {
    constexpr std::pair<Content, Fault> kDamages[] = {{Content::kTorn, Fault::kTorn},
                                                      {Content::kMisplaced, Fault::kMisplaced},
                                                      {Content::kForeign, Fault::kForeign},
                                                      {Content::kUnreadable, Fault::kUnreadable}};
    for (const auto& [damage, fault] : kDamages) {
      auto seen = Seen(device.ContentAt(device.journal_size()));
      seen[device.random().Below(seen.size())] = {.content = damage};
      for (const Promise promise : {Promise::kAcked, Promise::kFlushed, Promise::kImage}) {
        const Verdict verdict = JudgeHistory(device.history(), seen, promise);
        EXPECT_EQ(verdict.findings.Count(fault), 1U);
        EXPECT_EQ(verdict.findings.total(), 1U);
      }
    }
  });
}

}  // namespace
}  // namespace weir::oracle
