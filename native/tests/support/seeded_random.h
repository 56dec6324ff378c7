// A seeded source of 32-bit numbers; a test prints its seed when it fails.
#pragma once

#include <cstdint>
#include <random>

namespace weir {

class SeededRandom {
 public:
  explicit SeededRandom(uint32_t seed) : engine_(seed) {}
  uint32_t operator()() { return static_cast<uint32_t>(engine_()); }
  // In [0, bound).
  uint32_t Below(uint32_t bound) { return (*this)() % bound; }

 private:
  std::mt19937 engine_;
};

}  // namespace weir
