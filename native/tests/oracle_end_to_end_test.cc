// Goal: the oracle as a whole is quiet about servers that keep their promises, across kills too,
// and finds each kind of fault that is planted behind its back. Method: runs, plants and
// verifications against nbdkit over a unix socket (memory: loses everything with its process; file:
// loses nothing), and against a file through the device target.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "oracle/plant.h"
#include "oracle/runner.h"
#include "oracle/verifier.h"
#include "tests/support/nbdkit_server.h"
#include "tests/support/scratch_folder.h"

namespace weir::oracle {
namespace {

using test::NbdkitServer;

constexpr uint64_t kBlocks = 1024;
constexpr Promise kPromises[] = {Promise::kAcked, Promise::kFlushed, Promise::kImage};

// Kills the server when so many requests were sent.
class KillingTarget final : public Target {
 public:
  KillingTarget(Target& inner, NbdkitServer& server, size_t requests)
      : inner_(inner), server_(server), left_(requests) {}

  [[nodiscard]] uint64_t blocks() const override { return inner_.blocks(); }
  [[nodiscard]] bool must_not_fail() const override { return inner_.must_not_fail(); }
  [[nodiscard]] Result<void> Submit(std::span<const Request> requests) override {
    auto sent = inner_.Submit(requests);
    left_ -= std::min(left_, requests.size());
    if (left_ == 0) server_.Kill();
    return sent;
  }
  [[nodiscard]] Result<void> Wait(int timeout_ms, std::vector<Completion>& done) override {
    return inner_.Wait(timeout_ms, done);
  }

 private:
  Target& inner_;
  NbdkitServer& server_;
  size_t left_;
};

class OracleEndToEnd : public ::testing::Test {
 protected:
  std::string socket() const { return folder_.path() + "/socket"; }
  std::string log() const { return folder_.path() + "/log"; }
  std::string image() const { return folder_.path() + "/image"; }
  std::vector<std::string> memory() const { return {"memory", "size=4M"}; }

  std::unique_ptr<Target> Connect() { return Open("nbd:" + socket()); }
  std::unique_ptr<Target> Open(const std::string& address) {
    auto target = OpenTarget({.address = address});
    EXPECT_TRUE(target.ok()) << (target.ok() ? "" : target.error().what);
    return std::move(target.value());
  }
  void CreateImage() {
    const UniqueFd fd(::open(image().c_str(), O_CREAT | O_RDWR, 0600));
    ASSERT_EQ(::ftruncate(fd.get(), kBlocks * kBlockBytes), 0);
  }

  RunOptions RunOf(uint64_t op_count) const {
    RunOptions options{.log_path = log(), .op_count = op_count, .flush_at_end = true};
    options.workload.blocks = kBlocks;
    return options;
  }
  RunReport Run(Target& target, const RunOptions& options) {
    auto runner = Runner::Open(options, target);
    EXPECT_TRUE(runner.ok()) << (runner.ok() ? "" : runner.error().what);
    auto report = runner.value()->Run();
    EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().what);
    return report.value();
  }
  VerifyReport VerifyAs(Target& target, Promise promise, bool settle = false) {
    auto report = Verify(target, {.log_path = log(), .promise = promise, .settle = settle});
    EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().what);
    return std::move(report.value());
  }
  void ExpectSound(Target& target) {
    for (const Promise promise : kPromises) {
      const VerifyReport report = VerifyAs(target, promise);
      EXPECT_EQ(report.checked, kBlocks);
      EXPECT_EQ(report.findings.total(), 0U);
    }
  }
  // Plants, and expects that verify finds this, once, and nothing else.
  void ExpectFound(Target& target, Fault kind, Promise promise) {
    auto planted = Plant(target, {.log_path = log(), .kind = kind, .promise = promise, .seed = 3});
    ASSERT_TRUE(planted.ok()) << planted.error().what;
    const VerifyReport report = VerifyAs(target, promise);
    EXPECT_EQ(report.findings.Count(kind), 1U);
    ASSERT_EQ(report.findings.total(), 1U);
    EXPECT_EQ(report.findings.first()[0].block, planted.value().block);
  }

  test::ScratchFolder folder_;
};

TEST_F(OracleEndToEnd, CleanRunsVerify) {
  NbdkitServer server(socket(), memory());
  const auto target = Connect();
  for (int round = 0; round < 3; ++round) {
    const RunReport report = Run(*target, RunOf(3000));
    EXPECT_EQ(report.status, RunStatus::kDone);
    EXPECT_EQ(report.in_flight, 0U);
    EXPECT_EQ(report.errors, 0U);
    EXPECT_EQ(report.findings.total(), 0U);
    for (const uint64_t acked : report.acked) EXPECT_GT(acked, 0U);
    ExpectSound(*target);
    EXPECT_TRUE(VerifyAs(*target, Promise::kAcked, true).settled);
  }
}

TEST_F(OracleEndToEnd, EveryPlantedFaultIsFound) {
  for (const Fault kind : {Fault::kLost, Fault::kStale, Fault::kTorn, Fault::kZeroed,
                           Fault::kMisplaced, Fault::kForeign}) {
    for (const Promise promise : {Promise::kAcked, Promise::kFlushed}) {
      SCOPED_TRACE(kFaultNames[static_cast<size_t>(kind)]);
      NbdkitServer server(socket(), memory());
      const auto target = Connect();
      Run(*target, RunOf(3000));
      ExpectFound(*target, kind, promise);
      ASSERT_EQ(::unlink(log().c_str()), 0);
    }
  }
}

TEST_F(OracleEndToEnd, APlantedReorderingIsFound) {
  for (const Promise promise : {Promise::kFlushed, Promise::kImage}) {
    NbdkitServer server(socket(), memory());
    const auto target = Connect();
    RunOptions options = RunOf(3000);
    options.flush_at_end = false;
    options.workload.flush_every = 0;
    Run(*target, options);
    ExpectFound(*target, Fault::kPrefix, promise);
    ASSERT_EQ(::unlink(log().c_str()), 0);
  }
}

TEST_F(OracleEndToEnd, ARunSeesAPlantedFaultInItsReads) {
  NbdkitServer server(socket(), memory());
  const auto target = Connect();
  Run(*target, RunOf(3000));
  ASSERT_TRUE(Plant(*target, {.log_path = log(), .kind = Fault::kTorn}).ok());
  RunOptions reading = RunOf(3000);
  reading.workload.read_percent = 100;
  reading.workload.trim_percent = reading.workload.zero_percent = 0;
  const RunReport report = Run(*target, reading);
  EXPECT_GT(report.findings.Count(Fault::kTorn), 0U);
  EXPECT_EQ(report.findings.total(), report.findings.Count(Fault::kTorn));
}

TEST_F(OracleEndToEnd, KillsOfAServerThatKeepsItsDataAreAccepted) {
  CreateImage();
  for (size_t round = 1; round <= 4; ++round) {
    NbdkitServer server(socket(), {"file", image()});
    const auto target = Connect();
    KillingTarget killing(*target, server, 500 * round + 7);
    RunOptions options = RunOf(1'000'000);
    options.workload.flush_every = 500;
    const RunReport report = Run(killing, options);
    EXPECT_EQ(report.status, RunStatus::kDisconnected);
    EXPECT_EQ(report.findings.total(), 0U);
  }
  NbdkitServer server(socket(), {"file", image()});
  const auto target = Connect();
  ExpectSound(*target);
  const RunReport report = Run(*target, RunOf(2000));
  EXPECT_EQ(report.findings.total(), 0U);
  ExpectSound(*target);
}

TEST_F(OracleEndToEnd, AServerThatForgetsIsFound) {
  {
    NbdkitServer server(socket(), memory());
    Run(*Connect(), RunOf(500));
  }
  NbdkitServer server(socket(), memory());
  const auto target = Connect();
  EXPECT_GT(VerifyAs(*target, Promise::kAcked).findings.Count(Fault::kZeroed), 100U);
  EXPECT_GT(VerifyAs(*target, Promise::kFlushed).findings.Count(Fault::kZeroed), 100U);
  // Nothing at all is a prefix too.
  EXPECT_EQ(VerifyAs(*target, Promise::kImage).findings.total(), 0U);
  EXPECT_FALSE(VerifyAs(*target, Promise::kAcked, true).settled);
}

TEST_F(OracleEndToEnd, ASmallerTargetIsRefused) {
  NbdkitServer server(socket(), {"memory", "size=1M"});
  const auto target = Connect();
  EXPECT_FALSE(Runner::Open(RunOf(1), *target).ok());
}

TEST_F(OracleEndToEnd, AFileBehindTheDeviceTargetVerifies) {
  CreateImage();
  const auto target = Open("dev:" + image());
  const RunReport report = Run(*target, RunOf(3000));
  EXPECT_EQ(report.status, RunStatus::kDone);
  EXPECT_EQ(report.errors, 0U);
  EXPECT_EQ(report.findings.total(), 0U);
  ExpectSound(*target);
  ExpectFound(*target, Fault::kStale, Promise::kAcked);
}

TEST_F(OracleEndToEnd, AFailedRequestOfADeviceIsAFinding) {
  CreateImage();
  const auto target = Open("dev:" + image());
  // The device shrinks under the run: reads behind its end come back short.
  ASSERT_EQ(::truncate(image().c_str(), kBlocks * kBlockBytes / 2), 0);
  RunOptions options = RunOf(500);
  options.workload.read_percent = 100;
  options.workload.trim_percent = options.workload.zero_percent = 0;
  const RunReport report = Run(*target, options);
  EXPECT_GT(report.errors, 0U);
  EXPECT_EQ(report.findings.Count(Fault::kIoError), report.errors);
}

}  // namespace
}  // namespace weir::oracle
