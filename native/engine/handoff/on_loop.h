// Runs a step on a volume's loop and waits for it.
#pragma once

#include <future>

#include "engine/volume/volume_server.h"

namespace weir {

// Not on the loop's own thread. REQUIRES that the server is not parked.
template <typename Step>
void OnLoopOf(VolumeServer& server, Step step) {
  std::promise<void> done;
  server.With([&](VolumeServer& at) {
    step(at);
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace weir
