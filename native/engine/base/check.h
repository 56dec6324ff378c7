// Invariant checks that stay on in production: a wrong block is worse than a dead server, and a
// dead server is what journal replay and ublk recovery are for.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace weir {

[[noreturn]] inline void CheckFailed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "weir: check failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace weir

#define WEIR_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::weir::CheckFailed(#condition, __FILE__, __LINE__))
