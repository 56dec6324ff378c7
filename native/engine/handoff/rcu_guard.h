// Makes the kernel's grace periods short while devices change hands: worth 7 ms of a device's stall
// on 7.2 and 30 ms on 6.12, but a cost for every CPU of the node, so only for the window.
//
// Thread: any. Crash: the former value lies in a file since before the change; Restore() puts it
// back, at the end, at the next engine's start, or on the other side of the handoff.
#pragma once

#include <string>

namespace weir {

// Where an engine keeps what the setting was, below its folder of owners.
[[nodiscard]] std::string RcuKeeper(const std::string& owners);

class RcuGuard {
 public:
  // `keeper`: the file for the former value. Where the setting cannot be changed the window is
  // slower, and that is all.
  explicit RcuGuard(std::string keeper, std::string setting = "/sys/kernel/rcu_expedited");
  // Restores.
  ~RcuGuard();
  RcuGuard(const RcuGuard&) = delete;
  RcuGuard& operator=(const RcuGuard&) = delete;

  void Expedite();
  // Puts back what the keeper says, if there is one.
  void Restore();

 private:
  const std::string keeper_;
  const std::string setting_;
};

}  // namespace weir
