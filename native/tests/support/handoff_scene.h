// Volumes without a device on real journals, and the two processes that hand them over: what tests
// of the window share. A process that ends, stops or hangs at a step does so for real.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/handoff/taker.h"
#include "tests/support/volume_rig.h"

namespace weir::testing {

class HandoffScene {
 public:
  explicit HandoffScene(size_t volumes);
  // Puts back what a predecessor that was killed in its window left in this machine's kernel: no
  // next engine of this scene does.
  ~HandoffScene();
  HandoffScene(const HandoffScene&) = delete;
  HandoffScene& operator=(const HandoffScene&) = delete;

  // Rigs of every volume: serving, or warm beside those that serve.
  [[nodiscard]] std::vector<std::unique_ptr<VolumeRig>> Open(bool warm) const;
  // Blocks 0 to 63 of each volume: stamp `base` + block.
  static void Fill(const std::vector<std::unique_ptr<VolumeRig>>& rigs, uint64_t base);
  static void ExpectFilled(const std::vector<std::unique_ptr<VolumeRig>>& rigs, uint64_t base);
  // What TypeScript does at Hello: no journal file is recycled any more.
  static void Hold(const std::vector<std::unique_ptr<VolumeRig>>& rigs);

  [[nodiscard]] WindowOptions Options(HandoffSocket& socket, const std::string& identity) const;
  static GiveOutcome Give(const WindowOptions& options,
                          const std::vector<std::unique_ptr<VolumeRig>>& rigs);
  static TakeOutcome Take(const WindowOptions& options,
                          const std::vector<std::unique_ptr<VolumeRig>>& rigs);
  // What the file of the next generation says; empty: nobody claimed it.
  [[nodiscard]] std::string Owner() const;

  uint64_t deadline_ms = 10'000;
  size_t batch = 0;  // of the predecessor

  [[nodiscard]] static Uid UidAt(size_t index);

 private:
  TempDirectory directory_;
  size_t volumes_;
};

// A child process that runs `body` and ends with what it returns. Made before any thread of the
// test; it waits for Go().
class OtherProcess {
 public:
  explicit OtherProcess(const std::function<int()>& body);
  ~OtherProcess();
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;

  void Go();
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  // Waits for its end: the exit code, or minus the signal.
  int Join();
  // Waits until it has stopped (SIGSTOP).
  void AwaitStop() const;

 private:
  pid_t pid_ = -1;
  UniqueFd go_;
};

}  // namespace weir::testing
