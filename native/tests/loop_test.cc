// Goal: the loop's contract as the transports and the volume rely on it: order of posting, order of
// the round, completions, timers, stopping, and teardown on another thread.
// Method: a real ring; every test waits for events, none for time.
#include "engine/loop/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/loop/member_completion.h"
#include "engine/loop/spin_policy.h"

namespace weir {
namespace {

std::unique_ptr<Loop> MakeLoop(uint32_t entries = 64) {
  auto loop = Loop::Create(entries);
  EXPECT_TRUE(loop.ok());
  return std::move(loop.value());
}

class CountingCompletion final : public Completion {
 public:
  CountingCompletion(Loop& loop, int stop_at) : loop_(loop), stop_at_(stop_at) {}
  void OnCompletion(int result, uint32_t /*flags*/) override {
    last_result = result;
    if (++count == stop_at_) loop_.Stop();
  }

  int count = 0;
  int last_result = 0;

 private:
  Loop& loop_;
  int stop_at_;
};

class NotingHook final : public RoundEnd {
 public:
  NotingHook(std::string& notes, char note) : notes_(notes), note_(note) {}
  void OnRoundEnd() override { notes_ += note_; }

 private:
  std::string& notes_;
  char note_;
};

TEST(LoopTest, PostedTasksRunInOrderOfPosting) {
  const auto loop = MakeLoop();
  std::vector<int> seen;
  std::thread poster([&] {
    for (int i = 0; i < 1000; ++i) loop->Post([&seen, i] { seen.push_back(i); });
    loop->Post([&] { loop->Stop(); });
  });
  std::thread serving([&] { loop->Run(); });
  poster.join();
  serving.join();
  ASSERT_EQ(seen.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
}

TEST(LoopTest, TaskPostedByATaskRunsInALaterRound) {
  const auto loop = MakeLoop();
  std::string notes;
  NotingHook reply(notes, 'r');
  loop->AddRoundEnd(Loop::RoundOrder::kReply, &reply);
  loop->Post([&] {
    notes += 'a';
    loop->Post([&] {
      notes += 'b';
      loop->Stop();
    });
  });
  loop->Run();
  EXPECT_EQ(notes, "arbr");
}

TEST(LoopTest, RoundEndsInOrderAfterAllCompletions) {
  const auto loop = MakeLoop();
  std::string notes;
  NotingHook reply(notes, 'r');
  NotingHook commit(notes, 'c');
  NotingHook gather(notes, 'g');
  NotingHook settle(notes, 's');
  loop->AddRoundEnd(Loop::RoundOrder::kSettle, &settle);
  loop->AddRoundEnd(Loop::RoundOrder::kReply, &reply);
  loop->AddRoundEnd(Loop::RoundOrder::kCommit, &commit);
  loop->AddRoundEnd(Loop::RoundOrder::kGather, &gather);
  CountingCompletion three(*loop, 3);
  for (int i = 0; i < 3; ++i) io_uring_prep_nop(loop->Sqe(&three));
  loop->Run();
  EXPECT_EQ(three.count, 3);
  EXPECT_EQ(notes, "gcrs");
}

// Queues a write of one byte to a pipe in its first round, and sees whether it arrived when
// SubmitAnswers() returns.
class Answering final : public RoundEnd {
 public:
  Answering(Loop& loop, bool note) : loop_(loop), note_(note) {
    EXPECT_EQ(::pipe2(pipe_.data(), O_CLOEXEC | O_NONBLOCK), 0);
    loop_.AddRoundEnd(Loop::RoundOrder::kSettle, this);
  }
  ~Answering() {
    for (const int fd : pipe_) ::close(fd);
  }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
  void OnRoundEnd() override {
    if (std::exchange(done_, true)) return;
    io_uring_prep_write(loop_.Sqe(nullptr), pipe_[1], "a", 1, 0);
    if (note_) loop_.NoteAnswer();
    loop_.SubmitAnswers();
    char byte = 0;
    arrived = ::read(pipe_[0], &byte, 1) == 1;
    loop_.Stop();
  }

  bool arrived = false;

 private:
  Loop& loop_;
  bool note_;
  bool done_ = false;
  std::array<int, 2> pipe_{};
};

TEST(LoopTest, AnswersGoAheadOfTheRoundsEndUnlessMoreWorkIsReady) {
  struct Case {
    bool note;
    int completions;  // in the first round, of which it takes at most eight
    bool arrived;
  };
  for (const Case& test : {Case{true, 1, true}, Case{false, 1, false}, Case{true, 20, false}}) {
    const auto loop = MakeLoop();
    CountingCompletion all(*loop, -1);
    Answering answering(*loop, test.note);
    for (int i = 0; i < test.completions; ++i) io_uring_prep_nop(loop->Sqe(&all));
    loop->Run();
    EXPECT_EQ(all.count, std::min(test.completions, 8));
    EXPECT_EQ(answering.arrived, test.arrived) << test.note << " " << test.completions;
  }
}

TEST(LoopTest, HookMayRemoveItselfAndOthersDuringARound) {
  const auto loop = MakeLoop();
  std::string notes;
  NotingHook later(notes, 'l');
  class Remover final : public RoundEnd {
   public:
    Remover(Loop& loop, RoundEnd* other) : loop_(loop), other_(other) {}
    void OnRoundEnd() override {
      ++rounds;
      loop_.RemoveRoundEnd(other_);
      loop_.RemoveRoundEnd(this);
    }
    int rounds = 0;

   private:
    Loop& loop_;
    RoundEnd* other_;
  } remover(*loop, &later);
  NotingHook last(notes, 'z');
  loop->AddRoundEnd(Loop::RoundOrder::kGather, &remover);
  loop->AddRoundEnd(Loop::RoundOrder::kGather, &later);
  loop->AddRoundEnd(Loop::RoundOrder::kGather, &last);
  loop->Post([&] { loop->Post([&] { loop->Stop(); }); });
  loop->Run();
  EXPECT_EQ(remover.rounds, 1);
  EXPECT_EQ(notes, "zz");
}

TEST(LoopTest, FullRingSubmitsInsteadOfFailing) {
  const auto loop = MakeLoop(8);
  constexpr int kMany = 1000;
  CountingCompletion many(*loop, kMany);
  loop->Post([&] {
    for (int i = 0; i < kMany; ++i) io_uring_prep_nop(loop->Sqe(&many));
  });
  loop->Run();
  EXPECT_EQ(many.count, kMany);
}

TEST(LoopTest, CompletionCarriesTheResultAndNobodysIsDropped) {
  const auto loop = MakeLoop();
  CountingCompletion failed(*loop, 1);
  io_uring_prep_nop(loop->Sqe(nullptr));
  io_uring_prep_read(loop->Sqe(&failed), -1, nullptr, 0, 0);
  loop->Run();
  EXPECT_EQ(failed.last_result, -EBADF);
}

TEST(LoopTest, TimersRunByTimeThenByOrder) {
  const auto loop = MakeLoop();
  std::string order;
  constexpr uint64_t kMs = 1'000'000;
  const uint64_t hour_ns = 3'600'000 * kMs;
  bool never = false;
  loop->After(hour_ns, [&] { never = true; });
  // Posted, so that the ring already waits for the far timer when the near ones come.
  loop->Post([&] {
    loop->Post([&] {
      loop->After(3 * kMs, [&] {
        order += '3';
        loop->After(2 * kMs, [&] {
          order += '5';
          loop->Stop();
        });
        loop->After(1 * kMs, [&] { order += '4'; });
      });
      loop->After(1 * kMs, [&] { order += '1'; });
      loop->After(0, [&] { order += '0'; });
    });
  });
  loop->Run();
  EXPECT_EQ(order, "01345");
  EXPECT_FALSE(never);
}

TEST(LoopTest, ClockMovesOnlyBetweenRounds) {
  const auto loop = MakeLoop();
  uint64_t first = 0;
  uint64_t again = 0;
  uint64_t later = 0;
  loop->Post([&] {
    first = loop->now_ns();
    again = loop->now_ns();
    loop->After(1'000'000, [&] {
      later = loop->now_ns();
      loop->Stop();
    });
  });
  loop->Run();
  EXPECT_NE(first, 0U);
  EXPECT_EQ(first, again);
  EXPECT_GE(later, first + 1'000'000);
}

TEST(LoopTest, MemberCompletionsAreToldApart) {
  const auto loop = MakeLoop();
  class Owner {
   public:
    explicit Owner(Loop& loop) {
      io_uring_prep_nop(loop.Sqe(&first_));
      io_uring_prep_read(loop.Sqe(&second_), -1, nullptr, 0, 0);
    }
    int first = 1;
    int second = 1;

   private:
    void OnFirst(int result, uint32_t /*flags*/) { first = result; }
    void OnSecond(int result, uint32_t /*flags*/) { second = result; }
    MemberCompletion<Owner, &Owner::OnFirst> first_{this};
    MemberCompletion<Owner, &Owner::OnSecond> second_{this};
  } owner(*loop);
  loop->Post([&] { loop->Stop(); });
  loop->Run();
  EXPECT_EQ(owner.first, 0);
  EXPECT_EQ(owner.second, -EBADF);
}

TEST(LoopTest, StoppedLoopWithRequestsInFlightClosesOnAnotherThread) {
  auto loop = MakeLoop();
  uint64_t target = 0;
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const UniqueFd read_end(pipe_fds[0]);
  const UniqueFd write_end(pipe_fds[1]);
  CountingCompletion held(*loop, 1);
  std::thread serving([&] {
    loop->Post([&] {
      io_uring_prep_read(loop->Sqe(&held), read_end.get(), &target, sizeof(target), 0);
      loop->Post([&] { loop->Stop(); });
    });
    loop->Run();
  });
  serving.join();
  loop.reset();
  EXPECT_EQ(held.count, 0);
}

TEST(LoopTest, TasksPostedAfterStopAreDestroyedUnrun) {
  auto loop = MakeLoop();
  loop->Stop();
  loop->Run();
  auto token = std::make_shared<int>(0);
  loop->Post([token] { *token = 1; });
  loop.reset();
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_EQ(*token, 0);
}

TEST(SpinPolicyTest, SpinsOnWhileItPays) {
  SpinPolicy policy;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(policy.ShouldSpin());
    policy.OnSpinEnded(true);
  }
}

TEST(SpinPolicyTest, VainSpinsBecomeOneInAThousandSleepsAndOneSuccessResumesThem) {
  SpinPolicy policy;
  int spins = 0;
  for (int sleeps = 0; sleeps < 10'000; ++sleeps) {
    if (!policy.ShouldSpin()) continue;
    ++spins;
    policy.OnSpinEnded(false);
  }
  EXPECT_EQ(spins, 18);  // 9 while doubling up to 1024, then one per 1024.
  while (!policy.ShouldSpin()) {
  }
  policy.OnSpinEnded(true);
  EXPECT_TRUE(policy.ShouldSpin());
}

}  // namespace
}  // namespace weir
