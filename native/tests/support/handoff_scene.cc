#include "tests/support/handoff_scene.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "engine/handoff/rcu_guard.h"

namespace weir::testing {
namespace {

constexpr uint64_t kGeneration = 7;
constexpr uint32_t kFilledBlocks = 64;

}  // namespace

HandoffScene::HandoffScene(size_t volumes) : volumes_(volumes) {
  std::filesystem::create_directory(directory_.path() + "/owners");
}

HandoffScene::~HandoffScene() { RcuGuard(RcuKeeper(directory_.path() + "/owners")).Restore(); }

Uid HandoffScene::UidAt(size_t index) {
  Uid uid;
  uid.bytes.fill(static_cast<std::byte>(index + 1));
  return uid;
}

std::vector<std::unique_ptr<VolumeRig>> HandoffScene::Open(bool warm) const {
  std::vector<std::unique_ptr<VolumeRig>> rigs;
  for (size_t i = 0; i < volumes_; ++i) {
    rigs.push_back(std::make_unique<VolumeRig>(
        RigOptions{.directory = directory_.path() + "/journal" + std::to_string(i),
                   .size_blocks = 1024,
                   .journal_bytes = 16U << 20,
                   .journal_file_bytes = 256U << 10,
                   .warm = warm},
        std::make_shared<FakeBucket>(), std::make_shared<VolumeRig::Position>()));
  }
  return rigs;
}

void HandoffScene::Fill(const std::vector<std::unique_ptr<VolumeRig>>& rigs, uint64_t base) {
  for (const auto& rig : rigs) {
    for (uint32_t block = 0; block < kFilledBlocks; ++block) {
      ASSERT_EQ(rig->Write(block, Stamped(1, base + block)), 0);
    }
  }
}

void HandoffScene::ExpectFilled(const std::vector<std::unique_ptr<VolumeRig>>& rigs,
                                uint64_t base) {
  for (const auto& rig : rigs) {
    Bytes data;
    ASSERT_EQ(rig->Read(0, kFilledBlocks, &data), 0);
    for (uint32_t block = 0; block < kFilledBlocks; ++block) {
      ASSERT_EQ(StampOf(data, block), base + block);
    }
  }
}

void HandoffScene::Hold(const std::vector<std::unique_ptr<VolumeRig>>& rigs) {
  for (const auto& rig : rigs) {
    std::promise<void> settled;
    rig->On([&](VolumeServer& at) { at.volume().SetCalm(true, [&] { settled.set_value(); }); });
    settled.get_future().wait();
  }
}

WindowOptions HandoffScene::Options(HandoffSocket& socket, const std::string& identity) const {
  WindowOptions options;
  options.socket = &socket;
  options.owners = directory_.path() + "/owners";
  options.generation = kGeneration;
  options.identity = identity;
  options.deadline_ns = deadline_ms * 1'000'000;
  options.batch = batch;
  return options;
}

GiveOutcome HandoffScene::Give(const WindowOptions& options,
                               const std::vector<std::unique_ptr<VolumeRig>>& rigs) {
  std::vector<GiveVolume> volumes;
  volumes.reserve(rigs.size());
  for (const auto& rig : rigs) volumes.push_back({UidAt(volumes.size()), &rig->server()});
  return GiveAll(options, volumes);
}

TakeOutcome HandoffScene::Take(const WindowOptions& options,
                               const std::vector<std::unique_ptr<VolumeRig>>& rigs) {
  std::vector<TakeVolume> volumes;
  volumes.reserve(rigs.size());
  for (const auto& rig : rigs)
    volumes.push_back({UidAt(volumes.size()), &rig->server(), window::Transport::kNone, {}});
  return TakeAll(options, volumes);
}

std::string HandoffScene::Owner() const {
  std::ifstream file(directory_.path() + "/owners/" + std::to_string(kGeneration + 1));
  return {std::istreambuf_iterator<char>(file), {}};
}

OtherProcess::OtherProcess(const std::function<int()>& body) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd wait(ends[0]);
  go_ = UniqueFd(ends[1]);
  pid_ = ::fork();
  if (pid_ != 0) return;
  go_.Reset();
  char byte = 0;
  if (::read(wait.get(), &byte, 1) != 1) ::_exit(100);
  const int code = body();
  ::_exit(::testing::Test::HasFailure() ? 101 : code);
}

OtherProcess::~OtherProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  (void)Join();
}

void OtherProcess::Go() { EXPECT_EQ(::write(go_.get(), "g", 1), 1); }

int OtherProcess::Join() {
  int status = 0;
  EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void OtherProcess::AwaitStop() const {
  int status = 0;
  EXPECT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
  EXPECT_TRUE(WIFSTOPPED(status));
}

}  // namespace weir::testing
