// The oracle's own source of chance: splitmix64, so that a seed means the same history everywhere.
#pragma once

#include <cstdint>

namespace weir::oracle {

// A good 64-bit mixer: every bit of the result depends on every bit of `value`.
[[nodiscard]] constexpr uint64_t Mix(uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) noexcept : state_(seed) {}
  uint64_t operator()() noexcept { return Mix(state_ += 0x9e3779b97f4a7c15ULL); }
  // In [0, bound), bound > 0. The bias is below 2^-32 for the bounds in use.
  uint64_t Below(uint64_t bound) noexcept { return (*this)() % bound; }
  bool Percent(uint32_t percent) noexcept { return Below(100) < percent; }

 private:
  uint64_t state_;
};

}  // namespace weir::oracle
