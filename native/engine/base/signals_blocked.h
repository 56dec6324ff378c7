// No signal reaches the calling thread, or threads that it starts meanwhile, while this lives:
// signals belong to the threads that expect them, which in the addon are those of Node.
#pragma once

#include <pthread.h>
#include <signal.h>

#include "engine/base/check.h"

namespace weir {

class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    WEIR_CHECK(pthread_sigmask(SIG_SETMASK, &all, &before_) == 0);
  }
  // REQUIRES the same thread.
  ~SignalsBlocked() { WEIR_CHECK(pthread_sigmask(SIG_SETMASK, &before_, nullptr) == 0); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace weir
