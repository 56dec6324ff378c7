// Goal: whatever happens to either engine at any step of the window, one of them serves afterwards,
// or the next start recovers, and nothing acknowledged is lost (I1, I9).
// Method: both sides' real code over real journals and a real socket; the successor, or the
// predecessor, is another process that is killed, stopped, or loses its socket at each step. Every
// cell proves that its fault struck, and the grid prints how many cells there were.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/owners.h"
#include "engine/handoff/rcu_guard.h"
#include "tests/support/handoff_scene.h"

namespace weir::testing {
namespace {

using Rigs = std::vector<std::unique_ptr<VolumeRig>>;

// Exit codes of the other process.
constexpr int kTaken = 10;
constexpr int kRefused = 11;
constexpr int kGiven = 12;
constexpr int kKept = 13;
constexpr int kLost = 14;

enum class Fault { kKill, kStop, kCut };

const char* NameOf(Fault fault) {
  return fault == Fault::kKill ? "kill" : fault == Fault::kStop ? "stop" : "cut";
}

// Strikes this process, or its socket, once at `step`.
std::function<void(const char*)> StrikeAt(const std::string& step, Fault fault,
                                          HandoffSocket& socket) {
  // A step of every volume comes more than once.
  const auto struck = std::make_shared<std::atomic<bool>>(false);
  return [step, fault, &socket, struck](const char* now) {
    if (step != now || struck->exchange(true)) return;
    if (fault == Fault::kKill) ::kill(::getpid(), SIGKILL);
    if (fault == Fault::kStop) ::kill(::getpid(), SIGSTOP);
    if (fault == Fault::kCut) socket.Shutdown();
  };
}

// Afterwards the node has one owner of everything, which is a new process: what is there?
void ExpectRecovers(const HandoffScene& scene, uint64_t base) {
  const Rigs rigs = scene.Open(false);
  HandoffScene::ExpectFilled(rigs, base);
  HandoffScene::Fill(rigs, base + 1000);
  HandoffScene::ExpectFilled(rigs, base + 1000);
}

TEST(HandoffWindow, GivesEveryVolumeAndTheNextTakesThemOn) {
  HandoffScene scene(3);
  auto [first, second] = HandoffSocket::Pair();
  Rigs old = scene.Open(false);
  HandoffScene::Fill(old, 100);
  HandoffScene::Hold(old);
  const Rigs fresh = scene.Open(true);
  HandoffScene::Fill(old, 200);  // Behind the warm reading.
  TakeOutcome taken;
  std::thread successor(
      [&, &socket = *second] { taken = scene.Take(scene.Options(socket, "new"), fresh); });
  const GiveOutcome given = scene.Give(scene.Options(*first, "old"), old);
  successor.join();
  EXPECT_EQ(given.kind, GiveOutcome::Kind::kGiven) << given.reason;
  EXPECT_EQ(taken.kind, TakeOutcome::Kind::kTaken) << taken.reason;
  EXPECT_EQ(given.devices.size(), 3U);
  EXPECT_EQ(taken.devices.size(), 3U);
  EXPECT_EQ(scene.Owner(), "new");
  EXPECT_EQ(old[0]->Write(0, Stamped(1, 9)), -EIO) << "the predecessor may not append any more";
  old.clear();
  HandoffScene::ExpectFilled(fresh, 200);
  HandoffScene::Fill(fresh, 300);
  HandoffScene::ExpectFilled(fresh, 300);
}

TEST(HandoffWindow, ARefusalLeavesThePredecessorServing) {
  HandoffScene scene(2);
  auto [first, second] = HandoffSocket::Pair();
  const Rigs old = scene.Open(false);
  HandoffScene::Fill(old, 100);
  HandoffScene::Hold(old);
  const Rigs fresh = scene.Open(true);
  WindowOptions options = scene.Options(*second, "new");
  // A volume that the successor does not know.
  TakeOutcome taken;
  std::thread successor([&] {
    taken = TakeAll(options, {{.uid = VolumeRig::VolumeUid(),
                               .server = &fresh[0]->server(),
                               .transport = window::Transport::kNone,
                               .nbd = {}},
                              {.uid = {},
                               .server = &fresh[1]->server(),
                               .transport = window::Transport::kNone,
                               .nbd = {}}});
  });
  const GiveOutcome given = scene.Give(scene.Options(*first, "old"), old);
  successor.join();
  EXPECT_EQ(taken.kind, TakeOutcome::Kind::kRefused);
  ASSERT_EQ(given.kind, GiveOutcome::Kind::kKept);
  EXPECT_EQ(given.reason, "the other engine handed over a volume that was not agreed on");
  EXPECT_EQ(given.generation, 8U);
  EXPECT_EQ(scene.Owner(), "old");
  HandoffScene::ExpectFilled(old, 100);
  HandoffScene::Fill(old, 200);
  HandoffScene::ExpectFilled(old, 200);
}

TEST(HandoffWindow, AJournalThatWasNotReadToItsEndIsNotTaken) {
  HandoffScene scene(1);
  auto [first, second] = HandoffSocket::Pair();
  const Rigs old = scene.Open(false);
  HandoffScene::Fill(old, 100);
  HandoffScene::Hold(old);
  const Rigs fresh = scene.Open(true);
  // The predecessor's word is changed on its way: a sequence number that the journal does not have.
  auto [third, fourth] = HandoffSocket::Pair();
  std::thread between([&, &from = *second, &to = *third] {
    const uint64_t until_ns = MonotonicNs() + 10'000'000'000ULL;
    std::atomic<bool> open{true};
    std::thread back([&] {
      while (open) {
        auto received = to.Receive(until_ns);
        if (!received.ok() || !from.Send(received.value().bytes, {}, until_ns).ok()) return;
      }
    });
    for (;;) {
      auto received = from.Receive(until_ns);
      if (!received.ok()) break;
      auto message = window::Decode(received.value().bytes);
      ASSERT_TRUE(message.has_value());
      message->volume.committed_seq += 1;
      std::vector<int> fds;
      for (const UniqueFd& fd : received.value().fds) fds.push_back(fd.get());
      if (!to.Send(window::Encode(*message), fds, until_ns).ok()) break;
      if (message->kind == window::Kind::kKept) break;
    }
    open = false;
    to.Shutdown();
    back.join();
  });
  TakeOutcome taken;
  std::thread successor(
      [&, &socket = *fourth] { taken = scene.Take(scene.Options(socket, "new"), fresh); });
  const GiveOutcome given = scene.Give(scene.Options(*first, "old"), old);
  successor.join();
  first->Shutdown();
  between.join();
  EXPECT_EQ(taken.kind, TakeOutcome::Kind::kRefused);
  EXPECT_EQ(taken.reason, "the journal as it was read is not the journal as its writer left it");
  EXPECT_EQ(given.kind, GiveOutcome::Kind::kKept);
  HandoffScene::ExpectFilled(old, 100);
  HandoffScene::Fill(old, 200);
}

// Everything that can befall the successor. Before its claim the predecessor serves on; after it
// the predecessor knows that it must not, and recovery finds everything.
void StrikeSuccessor(const std::string& step, Fault fault) {
  SCOPED_TRACE(step + " " + NameOf(fault));
  HandoffScene scene(2);
  scene.deadline_ms = fault == Fault::kStop ? 400 : 10'000;
  auto [first, second] = HandoffSocket::Pair();
  OtherProcess other([&, &socket = *second, &mine = first] {
    mine.reset();
    const Rigs fresh = scene.Open(true);
    WindowOptions options = scene.Options(socket, "new");
    options.at_step = StrikeAt(step, fault, socket);
    const TakeOutcome taken = scene.Take(options, fresh);
    return taken.kind == TakeOutcome::Kind::kTaken ? kTaken : kRefused;
  });
  second.reset();
  {
    Rigs old = scene.Open(false);
    HandoffScene::Fill(old, 100);
    HandoffScene::Hold(old);
    other.Go();
    const GiveOutcome given = scene.Give(scene.Options(*first, "old"), old);
    // A successor that loses its socket in front of its claim races with the predecessor's.
    const bool races = step == "claim" && fault == Fault::kCut;
    const bool owned = races ? scene.Owner() == "new" : step == "serve" || step == "taken";
    if (owned) {
      EXPECT_EQ(given.kind, GiveOutcome::Kind::kLost) << given.reason;
      EXPECT_EQ(scene.Owner(), "new");
      EXPECT_EQ(old[0]->Write(0, Stamped(1, 9)), -EIO);
    } else {
      EXPECT_EQ(given.kind, GiveOutcome::Kind::kKept) << given.reason;
      HandoffScene::ExpectFilled(old, 100);
      HandoffScene::Fill(old, 100);
    }
    switch (fault) {
      case Fault::kKill:
        EXPECT_EQ(other.Join(), -SIGKILL);
        break;
      case Fault::kStop:
        other.AwaitStop();
        if (owned) {
          ::kill(other.pid(), SIGKILL);
          EXPECT_EQ(other.Join(), -SIGKILL);
        } else {
          // It wakes up too late and must not do anything.
          ::kill(other.pid(), SIGCONT);
          EXPECT_EQ(other.Join(), kRefused);
          HandoffScene::Fill(old, 100);
        }
        break;
      case Fault::kCut:
        EXPECT_EQ(other.Join(), owned ? kTaken : kRefused);
        break;
    }
    if (!owned) HandoffScene::ExpectFilled(old, 100);
  }
  ExpectRecovers(scene, 100);
}

TEST(HandoffWindow, TheSuccessorMayFailAtEveryStep) {
  int cells = 0;
  for (const char* step : {"prepare", "rested", "follow", "claim", "serve", "taken"}) {
    for (const Fault fault : {Fault::kKill, Fault::kStop, Fault::kCut}) {
      StrikeSuccessor(step, fault);
      ++cells;
    }
  }
  std::printf("cells of the grid: %d\n", cells);
  EXPECT_EQ(cells, 18);
}

// Everything that can befall the predecessor. The successor takes everything or nothing.
void StrikePredecessor(const std::string& step, Fault fault) {
  SCOPED_TRACE(step + " " + NameOf(fault));
  HandoffScene scene(2);
  scene.deadline_ms = fault == Fault::kStop ? 400 : 10'000;
  auto [first, second] = HandoffSocket::Pair();
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
  OtherProcess other([&, &socket = *first, &mine = second] {
    mine.reset();
    const Rigs old = scene.Open(false);
    HandoffScene::Fill(old, 100);
    HandoffScene::Hold(old);
    EXPECT_EQ(::write(ready[1], "r", 1), 1);
    WindowOptions options = scene.Options(socket, "old");
    options.at_step = StrikeAt(step, fault, socket);
    const GiveOutcome given = scene.Give(options, old);
    if (given.kind == GiveOutcome::Kind::kKept) {
      HandoffScene::ExpectFilled(old, 100);
      HandoffScene::Fill(old, 100);
      return kKept;
    }
    EXPECT_EQ(old[0]->Write(0, Stamped(1, 9)), -EIO);
    return given.kind == GiveOutcome::Kind::kGiven ? kGiven : kLost;
  });
  first.reset();
  other.Go();
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  TakeOutcome taken;
  {
    const Rigs fresh = scene.Open(true);
    taken = scene.Take(scene.Options(*second, "new"), fresh);
    // Each volume's Frozen may be sent before the strike; all of them are, or nothing is taken.
    if (taken.kind == TakeOutcome::Kind::kTaken) HandoffScene::ExpectFilled(fresh, 100);
    if (fault == Fault::kKill) {
      EXPECT_EQ(other.Join(), -SIGKILL);
    } else {
      if (fault == Fault::kStop) {
        other.AwaitStop();
        ::kill(other.pid(), SIGCONT);
      }
      const int code = other.Join();
      const bool mine = taken.kind == TakeOutcome::Kind::kTaken;
      EXPECT_EQ(scene.Owner() == "new", mine);
      EXPECT_EQ(code == kKept, !mine) << code;
    }
    if (taken.kind == TakeOutcome::Kind::kTaken) {
      HandoffScene::ExpectFilled(fresh, 100);
      HandoffScene::Fill(fresh, 100);
    }
  }
  second.reset();  // With it go the locks in messages that nobody read.
  ExpectRecovers(scene, 100);
}

TEST(HandoffWindow, ThePredecessorMayFailAtEveryStep) {
  int cells = 0;
  for (const char* step : {"rest", "freeze", "leave", "send"}) {
    for (const Fault fault : {Fault::kKill, Fault::kStop, Fault::kCut}) {
      StrikePredecessor(step, fault);
      ++cells;
    }
  }
  std::printf("cells of the grid: %d\n", cells);
  EXPECT_EQ(cells, 12);
}

TEST(HandoffWindow, OneOfManyClaims) {
  const TempDirectory directory;
  std::atomic<int> mine{0};
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto claim = ClaimGeneration(directory.path(), 3, "who");
      ASSERT_TRUE(claim.ok());
      if (claim.value() == OwnerClaim::kMine) ++mine;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(mine, 1);
}

TEST(HandoffWindow, TheKernelSettingIsPutBackAlsoAfterACrash) {
  const TempDirectory directory;
  const std::string setting = directory.path() + "/setting";
  const std::string keeper = directory.path() + "/keeper";
  const auto read = [&] {
    std::ifstream file(setting);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  std::ofstream(setting) << "0";
  {
    RcuGuard guard(keeper, setting);
    guard.Expedite();
    EXPECT_EQ(read(), "1");
    // Another engine's end, while this one is taken for dead.
    RcuGuard(keeper, setting).Restore();
    EXPECT_EQ(read(), "0");
    guard.Expedite();
    EXPECT_EQ(read(), "1");
  }
  EXPECT_EQ(read(), "0");
  EXPECT_FALSE(std::filesystem::exists(keeper));
}

}  // namespace
}  // namespace weir::testing
