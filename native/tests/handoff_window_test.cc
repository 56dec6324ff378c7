// Goal: whatever happens to either engine at any step of the window, one of them serves afterwards,
// or the next start recovers, and nothing acknowledged is lost (I1, I9).
// Method: both sides' real code over real journals and a real socket; the successor, or the
// predecessor, is another process that is killed, stopped, or loses its socket at each step. Every
// cell proves that its fault struck, and the grid prints how many cells there were.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/on_loop.h"
#include "engine/handoff/owners.h"
#include "engine/handoff/rcu_guard.h"
#include "engine/handoff/urgent.h"
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
constexpr int kBroken = 15;

int CodeOf(const TakeOutcome& taken) {
  return taken.kind == TakeOutcome::Kind::kTaken     ? kTaken
         : taken.kind == TakeOutcome::Kind::kRefused ? kRefused
                                                     : kBroken;
}

enum class Fault { kKill, kStop, kCut };

const char* NameOf(Fault fault) {
  return fault == Fault::kKill ? "kill" : fault == Fault::kStop ? "stop" : "cut";
}

// Where a fault strikes: a step of every volume, or of every batch, comes more than once.
struct Place {
  std::string step;
  int time = 1;
};

// Both volumes at once, or one after the other: then the second one's steps are another matter.
struct Way {
  size_t batch = 0;
  std::vector<Place> successor;
  std::vector<Place> predecessor;
};

std::vector<Way> Ways() {
  return {
      {.batch = 0,
       .successor = {{"prepare"}, {"rested"}, {"follow"}, {"claim"}, {"serve"}, {"taken"}},
       .predecessor = {{"rest"}, {"freeze"}, {"leave"}, {"send"}}},
      {.batch = 1,
       .successor = {{"prepare"},
                     {"rested"},
                     {"follow"},
                     {"claim"},
                     {"serve"},
                     {"follow", 2},
                     {"serve", 2},
                     {"taken"}},
       .predecessor = {
           {"rest"}, {"freeze"}, {"leave"}, {"send"}, {"freeze", 2}, {"leave", 2}, {"send", 2}}}};
}

// Strikes this process, or its socket, once at `place`.
std::function<void(const char*)> StrikeAt(const Place& place, Fault fault, HandoffSocket& socket) {
  const auto times = std::make_shared<std::atomic<int>>(0);
  return [place, fault, &socket, times](const char* now) {
    if (place.step != now || times->fetch_add(1) + 1 != place.time) return;
    if (fault == Fault::kKill) ::kill(::getpid(), SIGKILL);
    // This thread, so that it comes no further.
    if (fault == Fault::kStop) ::pthread_kill(::pthread_self(), SIGSTOP);
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

bool IsUrgent(pid_t thread) {
  return (::sched_getscheduler(thread) & ~SCHED_RESET_ON_FORK) == SCHED_FIFO;
}

// Threads of this process that run before all others.
size_t UrgentThreads() {
  size_t urgent = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    urgent += IsUrgent(static_cast<pid_t>(std::stol(task.path().filename()))) ? 1 : 0;
  }
  return urgent;
}

// Soon after the window there are none.
void ExpectNoneUrgent() {
  constexpr int kLooks = 1000;
  for (int look = 0; look < kLooks && UrgentThreads() > 0; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(UrgentThreads(), 0U);
}

bool MayBeUrgent() {
  SetUrgency(Urgency::kThread);
  const bool may = IsUrgent(0);
  SetUrgency(Urgency::kNone);
  return may;
}

class HandoffWindowInBatches : public ::testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(HandoffWindow, HandoffWindowInBatches, ::testing::Values(0, 1, 2, 8));

TEST_P(HandoffWindowInBatches, GivesEveryVolumeAndTheNextTakesThemOn) {
  HandoffScene scene(3);
  scene.batch = GetParam();
  auto [first, second] = HandoffSocket::Pair();
  Rigs old = scene.Open(false);
  HandoffScene::Fill(old, 100);
  HandoffScene::Hold(old);
  const Rigs fresh = scene.Open(true);
  HandoffScene::Fill(old, 200);  // Behind the warm reading.
  TakeOutcome taken;
  bool urgent = false;
  WindowOptions taking = scene.Options(*second, "new");
  taking.at_step = [&](const char* step) {
    if (std::string_view(step) == "claim") urgent = UrgentThreads() > 0;
  };
  std::thread successor([&] { taken = scene.Take(taking, fresh); });
  const GiveOutcome given = scene.Give(scene.Options(*first, "old"), old);
  successor.join();
  EXPECT_EQ(given.kind, GiveOutcome::Kind::kGiven) << given.reason;
  EXPECT_EQ(taken.kind, TakeOutcome::Kind::kTaken) << taken.reason;
  EXPECT_EQ(given.devices.size(), 3U);
  EXPECT_EQ(taken.devices.size(), 3U);
  EXPECT_EQ(scene.Owner(), "new");
  EXPECT_EQ(urgent, MayBeUrgent());
  EXPECT_EQ(old[0]->Write(0, Stamped(1, 9)), -EIO) << "the predecessor may not append any more";
  HandoffScene::ExpectFilled(fresh, 200);
  ExpectNoneUrgent();
  old.clear();
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
  // Behind what the window left to the successor's loops.
  for (const auto& rig : fresh) OnLoopOf(rig->server(), [](VolumeServer&) {});
  EXPECT_EQ(UrgentThreads(), 0U);
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

// Whoever is in `lost` belongs to the other engine; all others serve on.
void ExpectServesTheRest(const GiveOutcome& given, const Rigs& rigs, uint64_t base) {
  EXPECT_FALSE(given.lost.empty());
  for (size_t at = 0; at < rigs.size(); ++at) {
    const bool lost = std::count(given.lost.begin(), given.lost.end(), HandoffScene::UidAt(at)) > 0;
    EXPECT_EQ(rigs[at]->Write(0, Stamped(1, base)), lost ? -EIO : 0) << at;
  }
}

// Everything that can befall the successor. Before its claim the predecessor serves on; after it
// the predecessor knows what it must not touch, and recovery finds everything.
void StrikeSuccessor(size_t batch, const Place& place, Fault fault) {
  SCOPED_TRACE(place.step + std::to_string(place.time) + " " + NameOf(fault));
  HandoffScene scene(2);
  scene.batch = batch;
  scene.deadline_ms = fault == Fault::kStop ? 1'000 : 10'000;
  auto [first, second] = HandoffSocket::Pair();
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
  OtherProcess other([&, &socket = *second, &mine = first] {
    mine.reset();
    const Rigs fresh = scene.Open(true);
    EXPECT_EQ(::write(ready[1], "r", 1), 1);
    WindowOptions options = scene.Options(socket, "new");
    options.at_step = StrikeAt(place, fault, socket);
    return CodeOf(scene.Take(options, fresh));
  });
  second.reset();
  {
    Rigs old = scene.Open(false);
    HandoffScene::Fill(old, 100);
    HandoffScene::Hold(old);
    other.Go();
    // The deadline, which a fault runs into, is none for the opening of the journals.
    ::close(ready[1]);  // So that its end ends the read, too.
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    const GiveOutcome given = scene.Give(scene.Options(*first, "old"), old);
    // A successor that loses its socket in front of its claim races with the predecessor's; of a
    // batch it may have the other volume's message by then.
    const bool claims = place.step == "claim" || place.step == "follow";
    const bool races = claims && place.time == 1 && fault == Fault::kCut;
    const bool after = place.step == "serve" || place.step == "taken" || place.time > 1;
    const bool owned = races ? scene.Owner() == "new" : after;
    // It was alone with a volume when it was cut off from the other one.
    const bool broken = batch == 1 && place.time == 1 && place.step != "taken";
    if (owned) {
      EXPECT_EQ(given.kind, GiveOutcome::Kind::kLost) << given.reason;
      EXPECT_EQ(scene.Owner(), "new");
      EXPECT_EQ(given.lost.size(), broken ? 1U : 2U);
      ExpectServesTheRest(given, old, 100);
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
        EXPECT_EQ(other.Join(), !owned ? kRefused : broken ? kBroken : kTaken);
        break;
    }
    if (!owned) HandoffScene::ExpectFilled(old, 100);
  }
  ExpectRecovers(scene, 100);
}

TEST(HandoffWindow, TheSuccessorMayFailAtEveryStep) {
  int cells = 0;
  for (const Way& way : Ways()) {
    for (const Place& place : way.successor) {
      for (const Fault fault : {Fault::kKill, Fault::kStop, Fault::kCut}) {
        StrikeSuccessor(way.batch, place, fault);
        ++cells;
      }
    }
  }
  std::printf("cells of the grid: %d\n", cells);
  EXPECT_EQ(cells, 42);
}

// Everything that can befall the predecessor. Before it claims the successor takes nothing; after
// that it has what was sent, all of it or in pieces, and can not go back.
void StrikePredecessor(size_t batch, const Place& place, Fault fault) {
  SCOPED_TRACE(place.step + std::to_string(place.time) + " " + NameOf(fault));
  HandoffScene scene(2);
  scene.batch = batch;
  scene.deadline_ms = fault == Fault::kStop ? 1'000 : 10'000;
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
    options.at_step = StrikeAt(place, fault, socket);
    const GiveOutcome given = scene.Give(options, old);
    if (given.kind == GiveOutcome::Kind::kKept) {
      HandoffScene::ExpectFilled(old, 100);
      HandoffScene::Fill(old, 100);
      return kKept;
    }
    if (given.kind == GiveOutcome::Kind::kLost) {
      ExpectServesTheRest(given, old, 100);
      return kLost;
    }
    EXPECT_EQ(old[0]->Write(0, Stamped(1, 9)), -EIO);
    return kGiven;
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
    // What comes behind the claim is either all there or leaves it in pieces.
    const bool refuses = place.time == 1 && place.step != "send";
    EXPECT_TRUE(!refuses || taken.kind == TakeOutcome::Kind::kRefused) << taken.reason;
    EXPECT_TRUE(place.time == 1 || taken.kind != TakeOutcome::Kind::kRefused) << taken.reason;
    if (taken.kind == TakeOutcome::Kind::kTaken) HandoffScene::ExpectFilled(fresh, 100);
    if (fault == Fault::kKill) {
      EXPECT_EQ(other.Join(), -SIGKILL);
    } else {
      if (fault == Fault::kStop) {
        other.AwaitStop();
        ::kill(other.pid(), SIGCONT);
      }
      const int code = other.Join();
      const bool mine = taken.kind != TakeOutcome::Kind::kRefused;
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
  for (const Way& way : Ways()) {
    for (const Place& place : way.predecessor) {
      for (const Fault fault : {Fault::kKill, Fault::kStop, Fault::kCut}) {
        StrikePredecessor(way.batch, place, fault);
        ++cells;
      }
    }
  }
  std::printf("cells of the grid: %d\n", cells);
  EXPECT_EQ(cells, 33);
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

TEST(HandoffWindow, AClaimThatWasOnlyPreparedLeavesNothing) {
  const TempDirectory directory;
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
      found.push_back(entry.path().filename());
    }
    return found;
  };
  {
    const auto prepared = OwnerFile::Write(directory.path(), "who");
    ASSERT_TRUE(prepared.ok());
    EXPECT_EQ(names().size(), 1U);
    EXPECT_FALSE(GenerationIsClaimed(directory.path(), 4));
  }
  EXPECT_TRUE(names().empty());
  {
    const auto first = OwnerFile::Write(directory.path(), "who");
    const auto second = OwnerFile::Write(directory.path(), "another");
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(first.value().Claim(4).value(), OwnerClaim::kMine);
    EXPECT_EQ(second.value().Claim(4).value(), OwnerClaim::kTaken);
  }
  EXPECT_EQ(names(), std::vector<std::string>{"4"});
  std::ifstream file(directory.path() + "/4");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "who");
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
