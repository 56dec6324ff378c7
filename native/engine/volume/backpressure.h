// Holds writes when dirty data nears its bound: below 70 % nothing, from 70 % on writes pass at a
// falling rate, from 90 % on not at all. Never refuses.
//
// Thread: the loop thread of its volume. Queue: bounded by the transports' own request bounds.
#pragma once

#include <cstdint>

#include "engine/volume/block_device.h"

namespace weir {

inline constexpr double kSlowFrom = 0.70;
inline constexpr double kHoldFrom = 0.90;

class Backpressure {
 public:
  // Bytes that may pass in the tick that begins now, given how full (0..1) the bound is. The slope
  // is steep on purpose: the rate settles where the uploads' own rate lies, without a stall.
  [[nodiscard]] static uint64_t AllowancePerTick(double pressure) noexcept {
    if (pressure < kSlowFrom) return UINT64_MAX;
    if (pressure >= kHoldFrom) return 0;
    const double share = (kHoldFrom - pressure) / (kHoldFrom - kSlowFrom);
    return static_cast<uint64_t>(share * static_cast<double>(kTickBytesMax));
  }

  void Push(IoRequest* request) noexcept {
    request->next = nullptr;
    (tail_ == nullptr ? head_ : tail_->next) = request;
    tail_ = request;
    ++count_;
  }
  [[nodiscard]] IoRequest* front() const noexcept { return head_; }
  IoRequest* Pop() noexcept {
    IoRequest* request = head_;
    head_ = request->next;
    if (head_ == nullptr) tail_ = nullptr;
    --count_;
    return request;
  }
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  [[nodiscard]] uint64_t count() const noexcept { return count_; }

  static constexpr uint64_t kTickNs = 1'000'000;       // 1 ms
  static constexpr uint64_t kTickBytesMax = 4U << 20;  // at 70 %: 4 GiB/s, no brake in practice

 private:
  IoRequest* head_ = nullptr;
  IoRequest* tail_ = nullptr;
  uint64_t count_ = 0;
};

}  // namespace weir
