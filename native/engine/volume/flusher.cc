#include "engine/volume/flusher.h"

#include <cerrno>
#include <utility>

namespace weir {

Flusher::Flusher(Loop& loop, Journal& journal, FlushListener& listener, bool to_store)
    : loop_(loop), journal_(journal), listener_(listener), to_store_(to_store) {}

void Flusher::Wait(IoRequest* request, uint64_t seq) {
  const uint64_t durable = to_store_ ? stable_seq_ : journal_.synced_seq();
  if (seq <= durable) {
    listener_.OnDurable(request, 0);
    return;
  }
  waiters_.push_back({request, seq});
}

void Flusher::StartIfNeeded() {
  if (to_store_ || waiters_.empty() || in_flight_ > 0) return;
  round_seq_ = journal_.committed_seq();
  round_failed_ = false;
  for (const int fd : journal_.sync_fds()) {
    io_uring_sqe* sqe = loop_.Sqe(this);
    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    ++in_flight_;
  }
  if (in_flight_ == 0) {
    journal_.MarkSynced(round_seq_);
    Release(round_seq_);
    return;
  }
  loop_.BeginSlowWait();
}

void Flusher::OnCompletion(int result, uint32_t /*flags*/) {
  if (result < 0) round_failed_ = true;
  if (--in_flight_ > 0) return;
  loop_.EndSlowWait();
  // A sync that failed in the background counts as well: this round's own may have succeeded only
  // because the kernel reports an error once.
  if (round_failed_ || journal_.failed()) {
    journal_.MarkFailed();
    listener_.OnSyncFailed();
    return;
  }
  journal_.MarkSynced(round_seq_);
  Release(round_seq_);
}

void Flusher::OnStable(uint64_t seq) {
  stable_seq_ = seq;
  if (to_store_) Release(seq);
}

void Flusher::Release(uint64_t durable_seq) {
  released_.clear();
  size_t kept = 0;
  for (const Waiter& waiter : waiters_) {
    if (waiter.seq <= durable_seq) {
      released_.push_back(waiter);
    } else {
      waiters_[kept++] = waiter;
    }
  }
  waiters_.resize(kept);
  // OnDurable may submit new requests that wait here again, hence the detour over released_.
  auto released = std::move(released_);
  for (const Waiter& waiter : released) listener_.OnDurable(waiter.request, 0);
  released_ = std::move(released);
}

void Flusher::FailAll(int result) {
  auto waiters = std::exchange(waiters_, {});
  for (const Waiter& waiter : waiters) listener_.OnDurable(waiter.request, result);
}

}  // namespace weir
