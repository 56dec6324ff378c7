// A version of one block: which operation made it, and whether it reads as zeroes. Operations are
// numbered in the order of their submission, so that the order of two versions of one block is the
// order of their numbers: no two operations on one block are ever outstanding together.
#pragma once

#include <cstdint>

namespace weir::oracle {

class Version {
 public:
  // A fresh device: zeroes that no operation made.
  constexpr Version() = default;
  static constexpr Version Written(uint64_t id) noexcept { return Version(id); }
  static constexpr Version Zeroed(uint64_t id) noexcept { return Version(id | kZeroesBit); }

  [[nodiscard]] constexpr uint64_t id() const noexcept { return bits_ & ~kZeroesBit; }
  [[nodiscard]] constexpr bool zeroes() const noexcept { return (bits_ & kZeroesBit) != 0; }
  constexpr bool operator==(const Version&) const = default;

 private:
  static constexpr uint64_t kZeroesBit = 1ULL << 63;
  explicit constexpr Version(uint64_t bits) noexcept : bits_(bits) {}

  uint64_t bits_ = kZeroesBit;
};

}  // namespace weir::oracle
