// Group commit: all FLUSH and FUA waiters of one window share one fdatasync round, which runs on
// the volume's own ring. One round is in flight at a time; later waiters ride on the next.
//
// Thread: the loop thread. A failed sync is final (I1): it is never retried.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/journal/journal.h"
#include "engine/loop/loop.h"
#include "engine/volume/block_device.h"

namespace weir {

class FlushListener {
 public:
  // The request's records are durable as its class demands.
  virtual void OnDurable(IoRequest* request, int result) = 0;
  virtual void OnSyncFailed() = 0;

 protected:
  ~FlushListener() = default;
};

class Flusher final : private Completion {
 public:
  // `to_store`: durable means committed in the bucket (class s3), so no local sync is made.
  Flusher(Loop& loop, Journal& journal, FlushListener& listener, bool to_store);

  // Calls back when every record up to `seq` is durable; at once if it is.
  void Wait(IoRequest* request, uint64_t seq);
  // Starts a sync round if someone waits for one. Called at the end of each round.
  void StartIfNeeded();
  // Class s3: the log now holds everything up to `seq`.
  void OnStable(uint64_t seq);
  // Every waiter ends with `result`.
  void FailAll(int result);
  [[nodiscard]] bool idle() const noexcept { return waiters_.empty() && in_flight_ == 0; }
  [[nodiscard]] bool syncing() const noexcept { return in_flight_ > 0; }
  [[nodiscard]] bool waiting() const noexcept { return !waiters_.empty(); }

 private:
  struct Waiter {
    IoRequest* request;
    uint64_t seq;
  };
  void OnCompletion(int result, uint32_t flags) override;
  void Release(uint64_t durable_seq);

  Loop& loop_;
  Journal& journal_;
  FlushListener& listener_;
  const bool to_store_;
  uint64_t stable_seq_ = 0;
  uint64_t round_seq_ = 0;
  uint32_t in_flight_ = 0;
  bool round_failed_ = false;
  std::vector<Waiter> waiters_;
  std::vector<Waiter> released_;  // kept to reuse its memory
};

}  // namespace weir
