// The event loop of one volume: one thread, one io_uring, everything of that volume runs on it.
//
// Thread: the thread that calls Run() is the loop thread. Only Post() and Stop() may be called from
// any thread; all other methods REQUIRE the loop thread (or that Run() has not begun).
#pragma once

#include <liburing.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace weir {

// Receives the completions of requests it put on the ring; its address is the request's user_data.
// It must outlive every request in flight.
class Completion {
 public:
  virtual void OnCompletion(int result, uint32_t flags) = 0;

 protected:
  ~Completion() = default;
};

// Runs once in every round after all ready completions were dispatched and before the ring is
// submitted: the place where work gathered in the round is done as one batch.
class RoundEnd {
 public:
  virtual void OnRoundEnd() = 0;

 protected:
  ~RoundEnd() = default;
};

class Loop {
 public:
  static Result<std::unique_ptr<Loop>> Create(uint32_t entries);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Serves until Stop(). Blocks all signals in the calling thread.
  void Run();
  // Any thread. Run() returns after the current round.
  void Stop();
  // Closes the ring and drops what was in flight on it: the only way on Linux before 6.16 to let go
  // of a ublk device. Tasks, timers and hooks stay. REQUIRES that the thread of Run() was joined.
  void CloseRing();
  // A fresh ring after CloseRing(), for another Run().
  Result<void> OpenRing();
  // Any thread. Runs `task` on the loop thread in order of posting: in this round if it is posted
  // before the tasks had their turn, else in a later one.
  // Control path only: it locks and may allocate.
  void Post(std::function<void()> task);

  // A submission entry with user_data set to `owner` (nullptr: the completion is dropped). Submits
  // what is queued if the ring is full, so it never returns nullptr.
  [[nodiscard]] io_uring_sqe* Sqe(Completion* owner);
  // Round-end callbacks run in this order, those of one order in that of registration. kSettle is
  // for what no answer of the round depends on.
  enum class RoundOrder { kGather = 0, kCommit = 1, kReply = 2, kSettle = 3 };
  void AddRoundEnd(RoundOrder order, RoundEnd* hook);
  void RemoveRoundEnd(RoundEnd* hook);
  // Runs `task` once on the loop thread after `delay_ns` (CLOCK_MONOTONIC). Control path and
  // backpressure only; it may allocate.
  void After(uint64_t delay_ns, std::function<void()> task);
  // Among what is queued on the ring is the answer to a request.
  void NoteAnswer() noexcept { answer_queued_ = true; }
  // Submits such answers ahead of the round's end, if nothing else is ready to be worked on:
  // whoever waits for them goes on while this thread settles its books. Under load the round's own
  // submit follows soon enough, and costs no system call more.
  void SubmitAnswers();
  // Between the two, what the loop waits for takes long (a sync of the disk), so it sleeps instead
  // of spinning, and does not take this for a sign that requests have become rare.
  void BeginSlowWait() noexcept { ++slow_waits_; }
  void EndSlowWait() noexcept { --slow_waits_; }
  // Monotonic nanoseconds, read once per round.
  [[nodiscard]] uint64_t now_ns() const noexcept { return now_ns_; }
  [[nodiscard]] int ring_fd() const noexcept;

 private:
  struct State;
  explicit Loop(std::unique_ptr<State> state);

  uint64_t now_ns_ = 0;
  uint32_t slow_waits_ = 0;
  bool answer_queued_ = false;
  std::unique_ptr<State> state_;
};

}  // namespace weir
